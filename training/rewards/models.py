"""Rewards from reward models in this process, which read answers exactly as mull's server does."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from mull.training.errors import TrainingError
from mull.training.rewards.functions import Context, Message, texts_of
from mull.types import Aggregation, Chat, aggregate
from mull.verifiers.formats import StepTag, TokenClassification
from mull.verifiers.reading import Passage, Reader, Reading, fingerprint
from mull.verifiers.steps import split

ROWS = 32
"""Answers computed at once."""


class _ModelReward:
    """What outcome and process rewards share: loading, reading and batches of about equal length."""

    def __init__(self, context: Context, name: str, model: str, loader: Any, template: str | None) -> None:
        self.__name__ = name
        self._context = context
        try:
            tokenizer = AutoTokenizer.from_pretrained(model)
            self._model = loader.from_pretrained(model, dtype="auto").eval()
            limit = min(tokenizer.model_max_length, self._model.config.max_position_embeddings)
            self._reader = Reader(
                tokenizer,
                limit=limit,
                template=template,
                shared=fingerprint(tokenizer) == fingerprint(context.tokenizer),
            )
        except (OSError, ValueError) as error:
            raise TrainingError(f"rewards: {name} cannot load {model}: {error}") from error
        self._runner = asyncio.Runner()

    def __call__(
        self,
        *,
        prompts: Sequence[list[Message]],
        completions: Sequence[list[Message]],
        completion_ids: Sequence[list[int]],
        **columns: Any,
    ) -> list[float]:
        if torch.cuda.is_available():  # by now the trainer has chosen this process's device
            self._model.cuda()
        texts = texts_of(completions)
        passages = [self.lay_out(text, ids) for text, ids in zip(texts, completion_ids, strict=True)]
        readings = self._runner.run(self._read(prompts, passages))
        paths = [
            (tuple(reading.ids), reading.marks) if reading is not None and text.strip() else None
            for reading, text in zip(readings, texts, strict=True)
        ]
        unique = sorted({path for path in paths if path is not None}, key=lambda path: len(path[0]))
        judged: dict[Any, float] = {None: 0.0}
        for start in range(0, len(unique), ROWS):
            batch = unique[start : start + ROWS]
            judged |= zip(batch, self.judge(self._logits([ids for ids, _ in batch]), batch), strict=True)
        return [judged[path] for path in paths]

    def lay_out(self, text: str, ids: Sequence[int]) -> Passage:
        """The answer as the model shall see it."""
        raise NotImplementedError

    def judge(self, logits: Tensor, batch: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[float]:
        """From logits of a batch of token ids and marks to a score from 0 to 1 each."""
        raise NotImplementedError

    async def _read(
        self, prompts: Sequence[list[Message]], passages: Sequence[Passage]
    ) -> list[Reading | None]:
        """Each answer after its prompt; None for what is too long."""
        groups = defaultdict[str, list[int]](list)
        for number, prompt in enumerate(prompts):
            groups[json.dumps(prompt)].append(number)
        found: list[Reading | None] = [None] * len(prompts)
        for members in groups.values():
            chat = Chat(messages=tuple(prompts[members[0]]))
            readings = await self._reader.read(chat, [passages[m] for m in members])
            for member, reading in zip(members, readings, strict=True):
                found[member] = reading
        return found

    @torch.inference_mode()
    def _logits(self, rows: Sequence[Sequence[int]]) -> Tensor:
        # Sequence classifiers look for the last token that is not padding, whatever the mask says: padding
        # must differ from the last token of each row, which the model's own may be.
        lasts = {row[-1] for row in rows}
        pad = next(i for i in count() if i not in lasts)
        self._model.config.pad_token_id = pad
        ids = torch.full((len(rows), max(map(len, rows))), pad)
        mask = torch.zeros_like(ids)
        for n, row in enumerate(rows):
            ids[n, : len(row)] = torch.tensor(row)
            mask[n, : len(row)] = 1
        device = self._model.device
        logits: Tensor = self._model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        return logits.float().cpu()

    def close(self) -> None:
        """End the reader's thread and the loop."""
        self._runner.run(self._reader.close())
        self._runner.close()


class OutcomeReward(_ModelReward):
    """The sigmoid of a sequence classifier's only logit; empty answers, and those too long for it, score 0.

    Args:
        context: What reward functions share.
        model: Folder or name of the model.
        template: Text before the answer where the model has no chat template.

    Raises:
        TrainingError: the model cannot be loaded, or has not one label.
    """

    def __init__(self, context: Context, model: str, template: str | None) -> None:
        super().__init__(context, "orm", model, AutoModelForSequenceClassification, template)
        if self._model.config.num_labels != 1:
            raise TrainingError(
                f"rewards: {model} has {self._model.config.num_labels} labels; an ORM has one"
            )

    def lay_out(self, text: str, ids: Sequence[int]) -> Passage:
        """The answer, closed if it came to its end."""
        return Passage(text=text, ids=tuple(ids), closed=self._context.ended(ids))

    def judge(self, logits: Tensor, batch: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[float]:
        """Sigmoid of the logit."""
        scores: list[float] = logits[:, 0].sigmoid().tolist()
        return scores


class ProcessReward(_ModelReward):
    """A token classifier's probability of a good step at the end of each, as one number.

    Args:
        context: What reward functions share.
        model: Folder or name of the model.
        format: Layout of the answer and label to read.
        delimiter: Where steps end in an answer.
        aggregation: How one number is made of the steps'.

    Raises:
        TrainingError: the model cannot be loaded.
    """

    def __init__(
        self,
        context: Context,
        model: str,
        format: TokenClassification | StepTag,
        delimiter: str,
        aggregation: Aggregation,
    ) -> None:
        super().__init__(context, "prm", model, AutoModelForTokenClassification, format.template)
        self._format = format
        self._delimiter = delimiter
        self._aggregation: Aggregation = aggregation

    def lay_out(self, text: str, ids: Sequence[int]) -> Passage:
        """The answer in steps."""
        return self._format.lay_out(text, split(text, self._delimiter), tuple(ids))

    def judge(self, logits: Tensor, batch: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[float]:
        """The steps' probabilities, aggregated."""
        good = (logits.sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1))[..., self._format.label]
        return [
            aggregate(good[row, list(marks)].tolist(), self._aggregation)
            for row, (_, marks) in enumerate(batch)
        ]
