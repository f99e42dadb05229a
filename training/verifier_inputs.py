"""What a verifier's network is given in training and measurement: the very tokens that it will be served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mull.errors import InvalidRequest
from mull.training.data.rows import Message
from mull.training.errors import TrainingError
from mull.types import Chat
from mull.verifiers.reading import Passage, Reader, Reading

Messages = Sequence[Message] | Sequence[Mapping[str, Any]]
"""A chat, as the models of rows or as plain data."""

IGNORED = -100.0
"""Label of what is not learned; the trainer counts the others."""


def read(tokenizer: Any, rows: Sequence[tuple[Messages, Passage]], limit: int) -> list[Reading]:
    """Token ids of answers behind their prompts, by the code with which the server reads them.

    Args:
        tokenizer: The verifier's, with a chat template.
        rows: Messages of the prompt, and the answer.
        limit: Longest input, in tokens.

    Raises:
        TrainingError: the tokenizer has no chat template or it refuses a prompt, or a row is too long.
    """
    try:
        return asyncio.run(_read(tokenizer, rows, limit))
    except (InvalidRequest, ValueError) as error:
        raise TrainingError(str(error), param="model") from error


async def _read(tokenizer: Any, rows: Sequence[tuple[Messages, Passage]], limit: int) -> list[Reading]:
    reader = Reader(tokenizer, limit=limit)
    readings: list[Reading] = []
    try:
        for number, (messages, passage) in enumerate(rows, 1):
            plain = tuple(m.model_dump() if isinstance(m, Message) else m for m in messages)
            found = (await reader.read(Chat(messages=plain), [passage]))[0]
            if found is None:
                raise TrainingError(f"row {number} has more than {limit} tokens", param="training.max_length")
            readings.append(found)
    finally:
        await reader.close()
    return readings


def padding(tokenizer: Any) -> int:
    """Id of a token to pad with, in which no answer ends.

    Classifiers of sequences in transformers judge at the last token that is not padding.

    Raises:
        TrainingError: the tokenizer has none.
    """
    tokens = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
    found = next((t for t in tokens if t is not None and t != tokenizer.eos_token_id), None)
    if found is None:
        raise TrainingError(
            f"{tokenizer.name_or_path}: the tokenizer has no token to pad with", param="model"
        )
    return int(found)


@dataclass(frozen=True, slots=True)
class Padded:
    """Collates rows of `input_ids` and `labels`: one number a row, or one a token."""

    pad: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Tensors of shape `[B, T]`, padded on the right; `labels` have shape `[B]` or `[B, T]`."""
        ids = [torch.tensor(row["input_ids"]) for row in rows]
        labels = [torch.tensor(row["labels"], dtype=torch.float32) for row in rows]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad),
            "attention_mask": pad_sequence([torch.ones_like(i) for i in ids], batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED)
            if labels[0].dim()
            else torch.stack(labels),
        }


def step_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Cross-entropy of two-label logits `[B, T, 2]` with probabilities `[B, T]` of label 1; a scalar."""
    learned = labels != IGNORED
    good = labels[learned]
    targets = torch.stack([1 - good, good], -1)
    loss = F.cross_entropy(outputs.logits[learned].float(), targets, reduction="sum")
    return loss / (learned.sum() if num_items_in_batch is None else num_items_in_batch)


def score_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Binary cross-entropy of logits `[B, 1]` with probabilities `[B]`; a scalar."""
    loss = F.binary_cross_entropy_with_logits(outputs.logits[:, 0].float(), labels, reduction="sum")
    return loss / (len(labels) if num_items_in_batch is None else num_items_in_batch)


@torch.inference_mode()
def step_scores(model: Path, readings: Sequence[Reading], batch: int = 64) -> list[list[float]]:
    """Probability of label 1 at the end of each step, by the token classifier in a folder."""
    from transformers import AutoModelForTokenClassification

    scores: list[list[float]] = [[] for _ in readings]
    for at, logits in _outputs(AutoModelForTokenClassification, model, readings, batch):
        for row, n in zip(logits.softmax(-1)[..., 1], at, strict=True):
            scores[n] = row[list(readings[n].marks)].tolist()
    return scores


@torch.inference_mode()
def scores(model: Path, readings: Sequence[Reading], batch: int = 64) -> list[float]:
    """Logistic of the score of each reading, by the sequence classifier in a folder."""
    from transformers import AutoModelForSequenceClassification

    found = [0.0] * len(readings)
    for at, logits in _outputs(AutoModelForSequenceClassification, model, readings, batch):
        for score, n in zip(logits[:, 0].sigmoid().tolist(), at, strict=True):
            found[n] = score
    return found


def _outputs(
    kind: Any, model: Path, readings: Sequence[Reading], batch: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Numbers of some readings and the logits of these, for all readings, in batches of like length."""
    from transformers import AutoTokenizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = kind.from_pretrained(model, dtype=torch.float32).to(device).eval()
    collate = Padded(padding(AutoTokenizer.from_pretrained(model)))
    network.config.pad_token_id = collate.pad
    order = sorted(range(len(readings)), key=lambda n: len(readings[n].ids))
    for start in range(0, len(order), batch):
        at = order[start : start + batch]
        inputs = collate([{"input_ids": readings[n].ids, "labels": 0.0} for n in at])
        ids, mask = inputs["input_ids"].to(device), inputs["attention_mask"].to(device)
        yield at, network(input_ids=ids, attention_mask=mask).logits.float().cpu()
