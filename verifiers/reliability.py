"""How good predicted probabilities are: ranking, calibration, and the reliability curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import fsum

BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Predictions within one tenth of [0, 1]."""

    low: float
    high: float
    count: int
    predicted: float | None
    """Their mean; None where there are none."""
    observed: float | None
    """Mean of their labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Figures of predictions against labels."""

    count: int
    positives: int
    """Labels of at least one half."""
    auc: float | None
    """Probability that a positive is predicted higher than a negative, ties counted half; None where all
    labels are of one class."""
    brier: float
    """Mean squared difference of prediction and label."""
    ece: float
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599): mean distance of
    predicted and observed within a bin, weighted by how many predictions it holds."""
    bins: tuple[Bin, ...]


def reliability(predicted: Sequence[float], labels: Sequence[float]) -> Reliability:
    """Compare predictions with labels; both are in [0, 1], and labels may be soft.

    Raises:
        ValueError: nothing to compare, or of different number.
    """
    if not predicted or len(predicted) != len(labels):
        raise ValueError("reliability needs as many predictions as labels, and at least one")
    bins = curve(predicted, labels)
    positive = [label >= 0.5 for label in labels]
    return Reliability(
        count=len(labels),
        positives=sum(positive),
        auc=auc(predicted, positive),
        brier=brier(predicted, labels),
        ece=calibration_error(bins),
        bins=bins,
    )


def curve(predicted: Sequence[float], labels: Sequence[float]) -> tuple[Bin, ...]:
    """Predictions and labels by tenths of [0, 1], empty ones included."""
    inside: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for p, label in zip(predicted, labels, strict=True):
        inside[min(BINS - 1, int(p * BINS))].append((p, label))
    return tuple(_bin(number, pairs) for number, pairs in enumerate(inside))


def brier(predicted: Sequence[float], labels: Sequence[float]) -> float:
    """Mean squared difference of predictions and labels (Brier 1950)."""
    return fsum((p - label) ** 2 for p, label in zip(predicted, labels, strict=True)) / len(labels)


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error, of a curve that holds at least one prediction."""
    gaps = [
        part.count * abs(part.predicted - part.observed)
        for part in bins
        if part.predicted is not None and part.observed is not None
    ]
    return fsum(gaps) / sum(part.count for part in bins)


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Area under the ROC curve (the Mann-Whitney statistic); None where all labels are equal."""
    positives = sum(labels)
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    won, below = 0.0, 0
    for _, tied in groupby(sorted(zip(scores, labels, strict=True)), key=lambda pair: pair[0]):
        of_score = [label for _, label in tied]
        up = sum(of_score)
        won += up * (below + (len(of_score) - up) / 2)
        below += len(of_score) - up
    return won / (positives * negatives)


_RANGES = tuple(pairwise(number / BINS for number in range(BINS + 1)))


def _bin(number: int, pairs: Sequence[tuple[float, float]]) -> Bin:
    low, high = _RANGES[number]
    return Bin(
        low=low,
        high=high,
        count=len(pairs),
        predicted=fsum(p for p, _ in pairs) / len(pairs) if pairs else None,
        observed=fsum(label for _, label in pairs) / len(pairs) if pairs else None,
    )
