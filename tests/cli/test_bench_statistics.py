from __future__ import annotations

import random
from itertools import combinations

import pytest

from mull.server.bench.statistics import (
    Estimate,
    best_at_k,
    majority_at_k,
    mean,
    paired,
    pass_at_k,
    proportion,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    estimate = wilson(successes / n, n)
    assert estimate.low == pytest.approx(low, abs=5e-5)
    assert estimate.high == pytest.approx(high, abs=5e-5)


def test_wilson_stays_inside_zero_and_one() -> None:
    assert wilson(0, 7).low == 0
    assert wilson(1, 7).high == 1
    assert wilson(1, 7).low < 1


def test_proportion_of_single_trials_is_plain_wilson() -> None:
    estimate, plain = proportion([1, 0, 1, 1, 0, 1, 1]), wilson(5 / 7, 7)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (plain.value, plain.low, plain.high)
    )


def test_repeats_narrow_the_interval_only_as_far_as_they_vary() -> None:
    fixed = proportion([1.0, 0.0] * 10, repeats=8)  # every repetition as the first
    assert fixed.low == pytest.approx(proportion([1.0, 0.0] * 10).low)
    independent = proportion([0.5] * 20, repeats=8)
    assert independent == wilson(0.5, 160)


def test_proportion_without_variation_counts_problems() -> None:
    assert proportion([1.0] * 20, repeats=8) == wilson(1.0, 20)


def test_mean_has_a_normal_interval() -> None:
    estimate = mean([1.0, 2.0, 3.0, 4.0])
    assert estimate.value == 2.5
    assert estimate.high - estimate.value == pytest.approx(1.959964 * (5 / 3 / 4) ** 0.5)
    assert mean([3.0]) == Estimate(value=3.0, low=3.0, high=3.0)


@pytest.mark.parametrize(
    ("n", "correct", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 4), (6, 6, 2), (7, 3, 7), (8, 1, 4)]
)
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(n: int, correct: int, k: int) -> None:
    choices = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, choices)) / len(choices))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_best_at_k_is_the_share_of_choices_whose_first_is_right(k: int) -> None:
    ranked = [False, True, True, False, True]
    choices = list(combinations(ranked, k))
    assert best_at_k(ranked, k) == pytest.approx(sum(choice[0] for choice in choices) / len(choices))


def test_majority_at_k() -> None:
    rng = random.Random(0)
    votes = [("7", True), ("7", True), ("8", False), (None, False), ("9", False)]
    assert majority_at_k(votes, 5, rng) == 1.0
    assert majority_at_k([(None, False)] * 3, 3, rng) == 0.0
    assert majority_at_k(votes, 1, rng) == 0.4
    # Of two, the right one wins when both are 7, or one is and was drawn first or beside the abstainer.
    assert majority_at_k(votes, 2, rng, draws=20_000) == pytest.approx((1 + 2 * 2 / 2 + 2) / 10, abs=0.02)
    assert majority_at_k([("8", False), ("7", True)], 2, rng) == 0.0


@pytest.mark.parametrize("k", [0, 6])
def test_k_is_bounded_by_the_samples(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be from 1 to 5, not {k}"):
        pass_at_k(5, 2, k)
    with pytest.raises(ValueError, match="k must be from 1 to 5"):
        best_at_k([True] * 5, k)
    with pytest.raises(ValueError, match="k must be from 1 to 5"):
        majority_at_k([("1", True)] * 5, k, random.Random(0))


def test_paired_gives_the_exact_mcnemar_test_and_the_adjusted_wald_interval() -> None:
    # 10 both right, 9 only the first, 2 only the second, 4 neither.
    first = [1.0] * 10 + [1.0] * 9 + [0.0] * 2 + [0.0] * 4
    second = [1.0] * 10 + [0.0] * 9 + [1.0] * 2 + [0.0] * 4
    found = paired(first, second)
    assert (found.wins, found.losses) == (9, 2)
    assert found.value == pytest.approx(7 / 25)
    assert found.p == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    p12, p21 = 10 / 27, 3 / 27
    margin = 1.959964 * ((p12 + p21 - (p12 - p21) ** 2) / 27) ** 0.5
    assert (found.low, found.high) == pytest.approx((p12 - p21 - margin, p12 - p21 + margin))


def test_paired_claims_nothing_when_the_runs_never_differ() -> None:
    found = paired([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert found.value == 0
    assert found.low < 0 < found.high
    assert found.p == 1
