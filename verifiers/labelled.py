"""Labelled answers, and how a verifier judges them."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mull.errors import InvalidRequest
from mull.protocols import Verifier
from mull.types import Candidate, Chat, Prompt, Task, VerifierKind
from mull.verifiers.concurrency import together
from mull.verifiers.reliability import Reliability, reliability

PARALLEL = 32

Label = Annotated[float, Field(ge=0, le=1)]


class Labelled(BaseModel):
    """One answer: steps with `labels` (null: not known), or a whole one with a `label`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    prompt: list[dict[str, Any]] = Field(min_length=1)
    completion: list[dict[str, Any]] | None = Field(None, min_length=1, max_length=1)
    label: Label | None = None
    completions: list[str] | None = Field(None, min_length=1)
    labels: list[Label | None] | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Labelled:
        if self.completions is not None and self.labels is not None:
            if len(self.completions) != len(self.labels):
                raise ValueError(f"{len(self.completions)} completions, but {len(self.labels)} labels")
        elif self.completion is None or self.label is None:
            raise ValueError("give prompt, completions and labels, or prompt, completion and label")
        elif not isinstance(self.completion[0].get("content"), str):
            raise ValueError("completion[0].content must be a string")
        return self

    @property
    def text(self) -> str:
        """The answer."""
        return "".join(self.completions or ()) if self.completion is None else self.completion[0]["content"]


def read_labelled(path: Path) -> list[Labelled]:
    """Rows of a JSON Lines file, of the formats `stepwise` and `outcome`.

    Raises:
        InvalidRequest: the file cannot be read, is empty, or has a bad line, which is named.
    """
    rows = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    rows.append(Labelled.model_validate(json.loads(line)))
                except ValidationError as error:
                    first = error.errors(include_url=False)[0]
                    where = ".".join(map(str, first["loc"]))
                    why = f"{where}: {first['msg']}" if where else first["msg"]
                    raise InvalidRequest(f"{path}:{number}: {why}") from None
                except ValueError as error:
                    raise InvalidRequest(f"{path}:{number}: no JSON: {error}") from None
    except OSError as error:
        raise InvalidRequest(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is no text in UTF-8") from None
    if not rows:
        raise InvalidRequest(f"{path} has no rows")
    return rows


def fitting(rows: Sequence[Labelled], kind: VerifierKind) -> list[Labelled]:
    """The rows that fit a kind of verifier; those with steps, where it judges steps and there are any."""
    stepwise = [row for row in rows if row.labels is not None]
    outcome = [row for row in rows if row.label is not None]
    return (stepwise or outcome) if kind == "process" else outcome


async def measure(verifier: Verifier, rows: Sequence[Labelled]) -> Reliability:
    """Figures of a verifier on labelled answers; steps it cuts otherwise than the row are left out.

    Raises:
        InvalidRequest: nothing is left to compare, or the verifier cannot read a row.
        VerifierUnavailable: it does not answer.
    """
    slots = asyncio.Semaphore(PARALLEL)

    async def judged(row: Labelled) -> list[tuple[float, float]]:
        chat = Chat(messages=tuple(row.prompt))
        answer = Candidate(prompt=Prompt(chat=chat, text=row.text), steps=(row.text,), finish="stop")
        async with slots:
            (score,) = await verifier.score(Task(chat=chat), [answer])
        if row.labels is None:
            return list(_known([score.value], [row.label]))
        return list(_known(score.steps, row.labels)) if len(score.steps) == len(row.labels) else []

    pairs = [pair for found in await together(judged(row) for row in rows) for pair in found]
    if not pairs:
        raise InvalidRequest("no row has labels for the steps into which the verifier cuts its answer")
    if not all(math.isfinite(p) for p, _ in pairs):
        raise InvalidRequest("the verifier gives scores that are no numbers")
    return reliability([p for p, _ in pairs], [label for _, label in pairs])


def _known(scores: Sequence[float], labels: Sequence[float | None]) -> Iterator[tuple[float, float]]:
    for score, label in zip(scores, labels, strict=True):
        if label is not None:
            yield score, label
