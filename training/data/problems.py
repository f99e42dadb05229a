"""Where problems come from, and how they are split."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.training.bundled import problems as bundled
from mull.training.data.rows import AnyRow, Problem, read
from mull.training.errors import TrainingError

_CONFIG = ConfigDict(extra="forbid", frozen=True)


class Generated(BaseModel):
    """Problems `start` to `start + count - 1` of a stream of the bundled task."""

    model_config = _CONFIG

    seed: int
    count: int = Field(ge=1)
    start: int = Field(0, ge=0)
    min_steps: int = Field(bundled.MIN_STEPS, ge=1, le=bundled.MAX_STEPS)
    max_steps: int = Field(bundled.MAX_STEPS, ge=1, le=bundled.MAX_STEPS)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_steps > self.max_steps:
            raise ValueError("min_steps is larger than max_steps")
        return self


class ProblemSource(BaseModel):
    """A file of problems, or a stream of the bundled task."""

    model_config = _CONFIG

    file: Path | None = None
    limit: int | None = Field(None, ge=1)
    """How many of the file's problems, from its beginning."""
    generate: Generated | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.generate is None):
            raise ValueError("problems come either from a file or from generate")
        if self.limit is not None and self.file is None:
            raise ValueError("limit is for a file; generate has count")
        return self


def load(source: ProblemSource) -> list[Problem]:
    """The problems of a source, with all fields that their rows have.

    Raises:
        TrainingError: the file cannot be read, a line is no problem, there is none, or two have the same id.
    """
    if source.generate is not None:
        asked = source.generate
        return [
            Problem.model_validate(bundled.to_row(problem))
            for problem in bundled.generate(
                asked.seed,
                asked.count,
                start=asked.start,
                min_steps=asked.min_steps,
                max_steps=asked.max_steps,
            )
        ]
    assert source.file is not None
    found = read(source.file, Problem)[: source.limit]
    if not found:
        raise TrainingError(f"{source.file} holds no problem")
    seen: set[str] = set()
    for problem in found:
        if problem.id in seen:
            raise TrainingError(f"{source.file}: two problems have the id {problem.id!r}")
        seen.add(problem.id)
    return found


def split(rows: Iterable[AnyRow], seed: int, share: float) -> tuple[list[AnyRow], list[AnyRow]]:
    """Those kept for training, and about `share` of all held out, each in the given order.

    A hash of seed and problem decides: all rows of a problem are on one side, and stay there when others are
    added or left out.

    Raises:
        TrainingError: a row does not say of which problem it is.
    """
    kept: list[AnyRow] = []
    held_out: list[AnyRow] = []
    for number, row in enumerate(rows, 1):
        problem = row.id if isinstance(row, Problem) else row.problem
        if problem is None:
            raise TrainingError(f"row {number} has no `problem`, by which rows are split")
        digest = hashlib.sha256(f"{seed}/{problem}".encode()).digest()
        (held_out if int.from_bytes(digest[:8]) < share * 2**64 else kept).append(row)
    return kept, held_out
