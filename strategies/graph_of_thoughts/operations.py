"""The operations of a graph, as they stand in a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mull.strategies.base import Many
from mull.strategies.prompts import holding

MOST_OPERATIONS = 64
MOST_THOUGHTS = 256
"""Thoughts that one operation may give."""


class Operation(BaseModel):
    """Something done with the thoughts of earlier operations."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    sources: Many[int] | None = Field(
        None,
        alias="from",
        max_length=MOST_OPERATIONS,
        description="Earlier operations, by number from 0, whose thoughts it takes; else the one before.",
    )

    def gives(self, taken: int) -> int:
        """How many thoughts come of so many, at most."""
        return taken

    def asks(self, taken: int) -> int:
        """How many generations it takes for so many thoughts, at most."""
        return self.gives(taken)


class Generate(Operation):
    """`n` new thoughts from each thought taken, or from the question where `from` is empty."""

    op: Literal["generate"]
    n: int = Field(4, ge=1, le=64, description="How many from each.")
    prompt: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="What is asked: {question} and any {thought} taken; by default the question.",
    )
    part: bool = Field(False, description="Whether these answer only a part of the question.")

    def gives(self, taken: int) -> int:
        """`n` of each."""
        return self.n * taken


class Aggregate(Operation):
    """`n` new thoughts, each made of all the thoughts taken together."""

    op: Literal["aggregate"]
    n: int = Field(1, ge=1, le=64, description="How many.")
    prompt: str | None = Field(
        None,
        pattern=holding("thoughts"),
        max_length=4000,
        description="What is asked: {question} and {thoughts}.",
    )
    part: bool = Field(False, description="Whether these answer only a part of the question.")

    def gives(self, taken: int) -> int:
        """`n`, however many it takes."""
        return self.n if taken else 0


class Refine(Operation):
    """Each thought written anew, in a further turn of its conversation; kept as it was if that fails."""

    op: Literal["refine"]
    prompt: str | None = Field(None, min_length=1, max_length=4000, description="The request for it.")


class Judge(Operation):
    """The same thoughts with scores."""

    op: Literal["score"]
    prompt: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="What the model is asked of a thought, to be answered by Yes or No.",
    )


class KeepBest(Operation):
    """The `n` thoughts with the highest scores; what has none comes last."""

    op: Literal["keep_best"]
    n: int = Field(1, ge=1, le=MOST_THOUGHTS, description="How many.")

    def gives(self, taken: int) -> int:
        """No more than it takes."""
        return min(self.n, taken)

    def asks(self, taken: int) -> int:
        """None."""
        return 0


AnyOperation = Annotated[Generate | Aggregate | Refine | Judge | KeepBest, Field(discriminator="op")]

# The last scores are for both the joined and the refined thought: refining may have made it worse.
DEFAULT: tuple[AnyOperation, ...] = (
    Generate(op="generate", n=4),
    Judge(op="score"),
    KeepBest(op="keep_best", n=2),
    Aggregate(op="aggregate"),
    Refine(op="refine"),
    Judge(op="score", sources=(3, 4)),
)


def sources(graph: Sequence[Operation]) -> list[tuple[int, ...]]:
    """The numbers of the operations that each one takes thoughts from, once each.

    Raises:
        ValueError: one takes from itself, from a later one, or from nothing where it needs thoughts.
    """
    found = []
    for number, operation in enumerate(graph):
        before = (number - 1,) if number else ()
        given = before if operation.sources is None else tuple(dict.fromkeys(operation.sources))
        if any(not 0 <= source < number for source in given):
            raise ValueError(f"graph: operation {number} can take from 0 to {number - 1}, not {list(given)}")
        if not given and not isinstance(operation, Generate):
            raise ValueError(f"graph: operation {number} has nothing to take thoughts from")
        found.append(given)
    return found


def taken(graph: Sequence[Operation]) -> list[int]:
    """How many thoughts each operation takes at most; the question counts as one."""
    found, gives = [], list[int]()
    for operation, given in zip(graph, sources(graph), strict=True):
        found.append(sum(gives[source] for source in given) if given else 1)
        gives.append(operation.gives(found[-1]))
    return found
