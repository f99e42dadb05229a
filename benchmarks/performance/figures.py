"""What was measured: a median with its spread, held against a target."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of several rounds, and the rounds farthest from it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a round."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a figure should be."""

    bound: float
    side: Literal["at most", "at least"]

    def met(self, value: float) -> bool:
        """Whether a value is on the right side."""
        return value <= self.bound if self.side == "at most" else value >= self.bound


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of a table. `ours` and `limit` are medians in `unit`."""

    measure: int
    what: str
    value: Spread
    unit: str = ""
    """Of the value; empty for a ratio."""
    ours: float | None = None
    limit: float | None = None
    sides: str = ""
    """Unit of `ours` and `limit`."""
    target: Target | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the file that the page is made from."""
        met = None if self.target is None else self.target.met(self.value.median)
        target = None if self.target is None else vars(self.target)
        return vars(self) | {"value": vars(self.value), "target": target, "met": met}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a plot."""

    measure: int
    what: str
    x: str
    y: str
    points: tuple[tuple[float, float], ...]

    def as_json(self) -> dict[str, Any]:
        """For the file that the plots are made from."""
        return vars(self)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one measure came to."""

    figures: Sequence[Figure]
    curves: Sequence[Curve] = field(default=())


def ratios(ours: Sequence[float], limit: Sequence[float]) -> Spread:
    """Round by round, so that what slows a whole round down cancels out.

    Raises:
        ValueError: not as many of one as of the other.
    """
    return Spread.of([a / b for a, b in zip(ours, limit, strict=True)])


def quantile(values: Sequence[float], part: float) -> float:
    """The value that so large a part of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
