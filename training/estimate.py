"""What a training will take: rows, tokens, parameters and memory, told before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mull.training.job import Job

SAMPLE = 256
"""Rows whose length is looked at."""
OPTIMIZER_BYTES = 8
"""AdamW: two moments in single precision for each trained parameter."""
ACTIVATION_FACTOR = 34
"""Bytes kept for the backward pass per token, layer and unit of width (Korthikanti et al. 2022,
arXiv:2205.05198, eq. 1, without the part of attention, which comes on top)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Figures of a dry run; memory is that of one process, in bytes."""

    rows: int
    tokens_a_row: float
    longest_row: int
    updates: int
    parameters: int
    trained: int
    weights: int
    optimizer: int
    activations: int

    @property
    def memory(self) -> int:
        """Weights, gradients, optimizer state and activations together."""
        return self.weights + self.trained * 4 + self.optimizer + self.activations

    def line(self) -> str:
        """One sentence."""
        return (
            f"{self.rows} rows of about {self.tokens_a_row:.0f} tokens (longest {self.longest_row}), "
            f"{self.updates} updates; {self.trained:,} of {self.parameters:,} parameters are trained; "
            f"about {self.memory / 2**30:.2f} GiB (weights {self.weights / 2**30:.2f}, gradients "
            f"{self.trained * 4 / 2**30:.2f}, optimizer {self.optimizer / 2**30:.2f}, activations "
            f"{self.activations / 2**30:.2f})"
        )


def of(job: Job) -> Estimate:
    """The estimate for a job whose rows are checked; loads the model, trains nothing."""
    lengths = [len(_ids(job, row)) for row in islice(job.rows, SAMPLE)]
    t, config = job.recipe.training, job.model.config
    parameters, trained = _parameters(job)
    longest = max(lengths)
    tokens = t.micro_batch * longest
    heads = getattr(config, "num_attention_heads", 1)
    layers, width = config.num_hidden_layers, config.hidden_size
    activations = layers * tokens * (ACTIVATION_FACTOR * width + 5 * heads * longest)
    if t.gradient_checkpointing:
        activations = layers * tokens * width * 2 + activations // layers
    # The logits of a batch and their gradient, in single precision.
    activations += 8 * tokens * config.vocab_size if job.recipe.network == "causal" else 0
    return Estimate(
        rows=len(job.rows),
        tokens_a_row=sum(lengths) / len(lengths),
        longest_row=longest,
        updates=t.steps
        or max(1, round(len(job.rows) * t.epochs * getattr(job.recipe, "group", 1) / t.batch)),
        parameters=parameters,
        trained=trained,
        weights=sum(p.numel() * p.element_size() for p in job.model.parameters()),
        optimizer=trained * OPTIMIZER_BYTES,
        activations=activations,
    )


def model_line(job: Job) -> str:
    """What is known before there are rows: how many parameters there are, and are trained."""
    parameters, trained = _parameters(job)
    return f"{trained:,} of {parameters:,} parameters are trained"


def _parameters(job: Job) -> tuple[int, int]:
    """How many the model has, and how many are trained."""
    parameters = sum(p.numel() for p in job.model.parameters())
    return parameters, parameters if job.adapter is None else _adapted(job)


def _adapted(job: Job) -> int:
    """Trained parameters of an adapter, counted on a copy without memory of its own."""
    import torch
    from peft import get_peft_model

    with torch.device("meta"):
        shell = type(job.model)(job.model.config)
    adapted = get_peft_model(shell, job.adapter)
    return sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def _ids(job: Job, row: Any) -> list[int]:
    """Tokens of a row's longest text."""
    texts = [row.get("completion"), row.get("chosen"), row.get("rejected")]
    answers = [t[-1]["content"] for t in texts if t] + ["".join(row.get("completions", []))]
    prompt = row.get("messages") or row["prompt"]
    ids: list[int] = job.tokenizer.apply_chat_template(prompt, tokenize=True, return_dict=False)
    return ids + list(job.tokenizer.encode(max(answers, key=len), add_special_tokens=False))
