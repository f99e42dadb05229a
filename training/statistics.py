"""Figures with 95 % intervals."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mull.verifiers import reliability

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def bootstrap(items: Sequence[T], statistic: Callable[[Sequence[T]], float], draws: int = 500) -> Figure:
    """Percentile bootstrap over `items`, problems as a rule."""
    rng = random.Random(0)
    values = sorted(statistic(rng.choices(items, k=len(items))) for _ in range(draws))
    return Figure(statistic(items), values[int(0.025 * draws)], values[int(0.975 * draws) - 1])


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Probability that a positive scores above a negative, ties counted half; .5 without one of both."""
    found = reliability.auc(scores, labels)
    return 0.5 if found is None else found
