"""Figures with 95 % intervals, and estimates from samples drawn once."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""The normal distribution's 97.5 % point."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """How much larger one measured value is than another, on the same problems."""

    wins: int
    """Problems on which the first does better."""
    losses: int
    """Problems on which the second does better."""
    p: float
    """Of the exact sign test (McNemar's test where each problem is solved once)."""


def wilson(value: float, n: float) -> Estimate:
    """A proportion observed in `n` trials, with Wilson's score interval (Wilson 1927)."""
    center = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    margin = Z / (1 + Z**2 / n) * math.sqrt(value * (1 - value) / n + Z**2 / (4 * n**2))
    # At the ends the bound is the value itself; rounding would put it just beside.
    return Estimate(
        value=value, low=center - margin if value else 0.0, high=center + margin if value < 1 else 1.0
    )


def proportion(shares: Sequence[float], repeats: int = 1) -> Estimate:
    """The mean of one share of successes a problem, each from `repeats` trials.

    Trials on one problem are not independent: Wilson's interval takes the number of independent trials that
    would vary as much (Korn and Graubard 1998). With shares 0 and 1 that is the number of problems.
    """
    n = len(shares)
    value = math.fsum(shares) / n
    variance = math.fsum((share - value) ** 2 for share in shares) / n
    spread = value * (1 - value)
    trials = min(spread / variance * n, n * repeats) if variance > 0 else n * repeats if spread > 0 else n
    return wilson(value, trials)


def mean(values: Sequence[float]) -> Estimate:
    """The arithmetic mean with its normal interval; of a single value, that value."""
    n = len(values)
    value = math.fsum(values) / n
    variance = math.fsum((v - value) ** 2 for v in values) / max(1, n - 1)
    margin = Z * math.sqrt(variance / n)
    return Estimate(value=value, low=value - margin, high=value + margin)


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The difference of two proportions measured on the same problems, one share a problem.

    The interval is the adjusted Wald interval of Bonett and Price 2012: two more problems, one won and one
    lost, keep it honest when the two hardly ever differ.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    adjusted = mean([*differences, 1.0, -1.0])
    n = len(differences) + 2
    margin = (adjusted.high - adjusted.value) * math.sqrt((n - 1) / n)
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return Difference(
        value=math.fsum(differences) / len(differences),
        low=max(-1.0, adjusted.value - margin),
        high=min(1.0, adjusted.value + margin),
        wins=wins,
        losses=losses,
        p=_sign_test(wins, losses),
    )


def _sign_test(wins: int, losses: int) -> float:
    """Two-sided probability of a split at least as uneven when both sides are as likely."""
    n = wins + losses
    tail = sum(math.comb(n, i) for i in range(min(wins, losses) + 1))
    return min(1.0, math.ldexp(2 * tail, -n))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that `k` of `n` samples, `correct` of them right, hold a right one.

    The unbiased estimator of Chen et al. 2021, Evaluating Large Language Models Trained on Code.

    Raises:
        ValueError: `k` is not from 1 to `n`.
    """
    _check(k, n)
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def best_at_k(ranked: Sequence[bool], k: int) -> float:
    """Chance that the best ranked of `k` samples is right, over all choices of `k` from those ranked.

    Raises:
        ValueError: `k` is not from 1 to the number of samples.
    """
    n = len(ranked)
    _check(k, n)
    # Sample i is the best of k when the other k - 1 come from the n - 1 - i ranked behind it.
    return sum(math.comb(n - 1 - i, k - 1) for i, right in enumerate(ranked) if right) / math.comb(n, k)


def majority_at_k(
    votes: Sequence[tuple[Hashable | None, bool]], k: int, rng: random.Random, draws: int = 100
) -> float:
    """Share of random choices of `k` samples whose most frequent answer is right.

    Args:
        votes: Each sample's answer, None where it abstains, and whether that is right.
        k: How many samples vote. The answer drawn first wins a tie.
        rng: Draws the choices.
        draws: How many choices. When `k` is 1 or the number of samples, none has to be drawn.

    Raises:
        ValueError: `k` is not from 1 to the number of samples.
    """
    _check(k, len(votes))
    if k == 1:
        return sum(right for _, right in votes) / len(votes)
    if k == len(votes):
        return float(_majority(votes))
    return sum(_majority(rng.sample(votes, k)) for _ in range(draws)) / draws


def _majority(votes: Sequence[tuple[Hashable | None, bool]]) -> bool:
    counts: dict[Hashable, int] = {}
    right: dict[Hashable, bool] = {}
    for answer, correct in votes:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
            right[answer] = correct
    return right[max(counts, key=lambda answer: counts[answer])] if counts else False


def _check(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to {n}, not {k}")
