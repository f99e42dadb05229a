"""Candidates, workers on real ports, and tiny random models of the architectures that verifiers run on."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from mull.types import Candidate, Chat, Finish, Prompt, Score, Task, VerifierKind

# Read when torch is imported: vLLM would compile C++ at the first request for log-probabilities.
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% if not (loop.last and continue_final_message | default(false)) %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = "What is 2 + 3 ? Add them . The answer is \\boxed{5} . Yes No step one two three so far"
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def candidate(text: str, finish: Finish = "stop", *, ids: tuple[int, ...] = ()) -> Candidate:
    """A candidate with this answer, sampled as `ids` where given."""
    prompt = Prompt(chat=Chat(messages=()), ids=ids or None, text=text, generated=len(ids))
    return Candidate(prompt=prompt, steps=(text,), finish=finish)


def task(question: str = "What is 2 + 3?", **fields: Any) -> Task:
    """A task of one question."""
    return Task(chat=Chat(messages=({"role": "user", "content": question},)), **fields)


@pytest.fixture(name="candidate")
def _candidate() -> Callable[..., Candidate]:
    return candidate


@pytest.fixture(name="task")
def _task() -> Callable[..., Task]:
    return task


class Scripted:
    """A verifier that gives a score by text, and can be held up or made to fail."""

    def __init__(self, kind: VerifierKind = "process") -> None:
        self.name = "scripted"
        self.kind: VerifierKind = kind
        self.seen: list[tuple[Task, list[Candidate]]] = []
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        self.seen.append((task, list(candidates)))
        self.asked.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        return [Score(value=1 / (1 + len(c.text)), steps=(0.5, 0.25), tokens=len(c.text)) for c in candidates]


@asynccontextmanager
async def serving(app: FastAPI, port: int = 0) -> AsyncIterator[str]:
    """Serve an app in this event loop; gives its base address."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", timeout_graceful_shutdown=5))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture(name="scripted")
def _scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(name="serving")
def _serving() -> Callable[..., AbstractAsyncContextManager[str]]:
    return serving


@pytest.fixture(scope="session")
def byte_level() -> Any:
    """A byte-level BPE tokenizer with a chat template; "\\n" is a token of its own."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+|\s"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<pad>", "<bos>", "<eos>", "<|user|>", "<|assistant|>", "<|system|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
        chat_template=TEMPLATE,
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, byte_level: Any) -> Path:
    """A folder of models: `lm`, `other`, `orm`, `prm` (Llama), `shepherd` (Mistral), `qwen` (Qwen2)."""
    import torch
    import transformers

    root = tmp_path_factory.mktemp("models")
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    llama = {**SHAPE, **ids, "vocab_size": len(byte_level)}
    made = {
        "lm": (transformers.LlamaForCausalLM, transformers.LlamaConfig(**llama)),
        "other": (transformers.LlamaForCausalLM, transformers.LlamaConfig(**llama)),
        "orm": (transformers.LlamaForSequenceClassification, transformers.LlamaConfig(**llama, num_labels=1)),
        "prm": (transformers.LlamaForTokenClassification, transformers.LlamaConfig(**llama, num_labels=2)),
        "shepherd": (
            transformers.MistralForCausalLM,
            transformers.MistralConfig(**llama, sliding_window=None),
        ),
    }
    for seed, (name, (architecture, config)) in enumerate(made.items()):
        torch.manual_seed(seed)
        model = architecture(config)
        _spread(model)
        model.save_pretrained(root / name)
        byte_level.save_pretrained(root / name)
    _save_qwen(root / "qwen")
    return root


def _spread(model: Any) -> None:
    """Larger weights than at initialisation, so that outputs differ visibly from token to token."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.mul_(4)


def _save_qwen(folder: Path) -> None:
    """Qwen2.5-Math-PRM's architecture: transformers has the trunk, the head is two layers over it."""
    import torch
    import transformers
    from safetensors.torch import save_file

    folder.mkdir()
    tokenizer = _qwen_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    config = transformers.Qwen2Config(**SHAPE, vocab_size=len(tokenizer), eos_token_id=1, pad_token_id=0)
    trunk = transformers.Qwen2Model(config)
    _spread(trunk)
    width = config.hidden_size
    head = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 2))
    weights = {f"model.{name}": weight for name, weight in trunk.state_dict().items()}
    weights |= {f"score.{name}": 4 * weight for name, weight in head.state_dict().items()}
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    written = config.to_dict() | {"architectures": ["Qwen2ForProcessRewardModel"], "num_labels": 2}
    (folder / "config.json").write_text(json.dumps(written))


def _qwen_tokenizer() -> Any:
    """A tokenizer of Qwen's own class: others are silently replaced by one for this model type."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    learner.train_from_iterator([WORDS] * 4, trainer)
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<extra_0>"],
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer
