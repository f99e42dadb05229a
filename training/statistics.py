"""Figures with 95 % intervals."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

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
    """Probability that a positive scores above a negative, ties counted half."""
    ranked = sorted(zip(scores, labels, strict=True))
    values = [s for s, _ in ranked]
    starts = [0, *(n + 1 for n, (a, b) in enumerate(pairwise(values)) if a != b), len(values)]
    positives = sum(labels)
    negatives = len(labels) - positives
    if not positives or not negatives:
        return 0.5
    area, below = 0.0, 0
    for start, end in pairwise(starts):
        up = sum(label for _, label in ranked[start:end])
        area += up * (below + (end - start - up) / 2)
        below += end - start - up
    return area / (positives * negatives)
