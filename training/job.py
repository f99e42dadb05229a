"""One recipe on its way from rows to a trained model: what it needs is loaded here, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)

from mull.errors import one_of
from mull.training.data.rows import Problem, Rollout
from mull.training.errors import TrainingError
from mull.training.recipes.base import Recipe
from mull.training.rollouts import Rollouts, roll_out

LOADERS = {
    "causal": AutoModelForCausalLM,
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
}


@dataclass
class Job:
    """What a recipe's `make` and `trainer` may use."""

    recipe: Recipe
    rows: Sequence[Mapping[str, Any]] = ()
    """The columns of checked rows to learn from; empty while they are being made."""
    callbacks: list[TrainerCallback] = field(default_factory=list)
    trainer: Any = None
    """The trainer once it has ended."""
    rewards: tuple[Sequence[Any], Sequence[float]] = ((), ())
    """Reward functions and their weights, where the recipe optimises some."""

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.recipe.output

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return AutoTokenizer.from_pretrained(self.recipe.model)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model with the recipe's head, in single precision: trainers cast what they compute."""
        training = self.recipe.training
        cpu = not torch.cuda.is_available()
        # Fused attention is slower than the plain one on CPUs at the lengths that can be trained there.
        attention = training.attention or ("eager" if cpu else None)
        labels = {"sequence": {"num_labels": 1}, "token": {"num_labels": 2}}.get(self.recipe.network, {})
        return LOADERS[self.recipe.network].from_pretrained(
            self.recipe.model, dtype=torch.float32, attn_implementation=attention, **labels, **self._quantized
        )

    @property
    def _quantized(self) -> dict[str, Any]:
        return {} if self.recipe.peft is None else self.recipe.peft.quantized()

    @property
    def adapter(self) -> Any:
        """The `PeftConfig` of the recipe, None for full training."""
        peft = self.recipe.peft
        return None if peft is None else peft.config(self.recipe.network, self.recipe.model)

    @cached_property
    def dataset(self) -> Dataset:
        """The rows."""
        return Dataset.from_list([dict(row) for row in self.rows])

    @property
    def parts(self) -> dict[str, Any]:
        """The arguments that all of TRL's trainers take."""
        return {
            "model": self.model,
            "train_dataset": self.dataset,
            "processing_class": self.tokenizer,
            "peft_config": self.adapter,
            "callbacks": self.callbacks,
        }

    def sample(
        self,
        problems: Sequence[Problem],
        name: str,
        rollouts: Rollouts | None = None,
        model: str | None = None,
    ) -> list[Rollout]:
        """Samples of each problem, drawn once: kept in `data/<name>.jsonl`, and completed there after a kill.

        Args:
            problems: What to solve.
            name: Name of the file.
            rollouts: How; the recipe's section `rollouts` by default.
            model: Folder of the model that answers; the recipe's own by default.

        Raises:
            TrainingError: the model or server does not answer.
        """
        how = rollouts or self.recipe.rollouts or Rollouts()
        path = self.folder / "data" / f"{name}.jsonl"
        return roll_out(problems, path, model=model or self.recipe.model, rollouts=how, seed=self.recipe.seed)

    def arguments(self, kind: type[TrainingArguments], **own: Any) -> Any:
        """The trainer's configuration: the common settings, what the recipe sets, then the user's options.

        Args:
            kind: `SFTConfig`, `DPOConfig`, ...; also tells which options exist.
            own: Fields that the recipe sets; `options` may override them.

        Raises:
            TrainingError: an option that this trainer does not have.
        """
        t = self.recipe.training
        known = {f.name for f in fields(kind) if f.init}
        for name in t.options:
            if name not in known:
                near = sorted(k for k in known if k[:3] == name[:3]) or sorted(known)
                raise TrainingError(
                    f"training.options: {kind.__name__} has no field {name!r}; like it are {one_of(near)}",
                    param="training.options",
                )
        values: dict[str, Any] = {
            "output_dir": str(self.folder / "checkpoints"),
            "seed": self.recipe.seed,
            "learning_rate": t.learning_rate,
            "num_train_epochs": t.epochs,
            "max_steps": t.steps or -1,
            "per_device_train_batch_size": t.micro_batch,
            "gradient_accumulation_steps": t.batch // t.micro_batch,
            "warmup_steps": t.warmup,
            "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(t.schedule, t.schedule),
            "weight_decay": t.weight_decay,
            "max_grad_norm": t.clip,
            "bf16": t.precision == "bf16",
            "gradient_checkpointing": t.gradient_checkpointing,
            "use_cpu": not torch.cuda.is_available(),
            "save_steps": t.save_every,
            "save_total_limit": 2,
            "logging_steps": t.log_every,
            "report_to": list(t.log_to),
            "disable_tqdm": True,
            "dataloader_pin_memory": torch.cuda.is_available(),
        }
        return kind(**values | {k: v for k, v in own.items() if k in known} | t.options)
