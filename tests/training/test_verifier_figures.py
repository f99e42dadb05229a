"""Figures of verifiers against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mull.training.verifier_figures import (
    Judged,
    answer_figures,
    best_threshold,
    calibration_error,
    first_error_f1,
    reliability,
    spearman,
    step_figures,
    verdict,
)
from mull.verifiers.reliability import brier

PROBABILITIES = st.lists(st.floats(0, 1), min_size=2, max_size=30)


def judged(steps: tuple[float, ...], truth: tuple[bool, ...]) -> Judged:
    return Judged(score=min(steps), right=all(truth), steps=steps, truth=truth)


def test_only_the_first_error_counts() -> None:
    answer = judged((0.9, 0.2, 0.1), (True, False, False))
    assert verdict(answer, 0.5) == (True, True)
    assert verdict(answer, 0.15) == (True, False)
    assert verdict(answer, 0.95) == (True, False)
    assert verdict(judged((0.9, 0.8), (True, True)), 0.5) == (False, True)
    assert verdict(judged((0.9, 0.8), (True, True)), 0.85) == (False, False)


def test_f1_is_the_harmonic_mean_of_both_accuracies() -> None:
    verdicts = [(True, True), (True, False), (False, True), (False, True), (False, True), (False, False)]
    assert first_error_f1(verdicts) == pytest.approx((0.6, 0.5, 0.75))
    assert first_error_f1([(True, False), (False, True)]) == (0.0, 0.0, 1.0)


def test_the_threshold_fits_the_scale_of_the_scores() -> None:
    cases = [[judged((0.2, 0.1), (True, False)), judged((0.2, 0.15), (True, True))]]
    assert 0.1 < best_threshold(cases) <= 0.15


def test_the_threshold_of_a_problem_is_chosen_on_others() -> None:
    low = [judged((0.2, 0.1), (True, False)), judged((0.2, 0.15), (True, True))]
    high = [judged((0.9, 0.8), (True, False)), judged((0.9, 0.85), (True, True))]
    assert step_figures([low] * 8)["first-error F1"].value == 1.0
    assert step_figures([low, high] * 4)["first-error F1"].value == 0.0


def test_a_perfect_verifier_has_perfect_figures() -> None:
    cases = [[Judged(score=1.0, right=True), Judged(score=0.0, right=False)] for _ in range(5)]
    figures = answer_figures(cases)
    assert {name: figure.value for name, figure in figures.items()} == {
        "best-of-2": 1.0,
        "AUC of the answer": 1.0,
        "Brier score": 0.0,
        "calibration error": 0.0,
    }


def test_calibration_error_by_hand() -> None:
    scores, labels = [0.91, 0.99, 0.05, 0.05], [1.0, 0.0, 0.0, 0.0]
    low, high = reliability(scores, labels)
    assert low == pytest.approx((0.05, 0.0, 2))
    assert high == pytest.approx((0.95, 0.5, 2))
    assert calibration_error(scores, labels) == pytest.approx(0.25)
    assert brier([0.5, 1.0], [1.0, 1.0]) == 0.125


@settings(deadline=None)
@given(PROBABILITIES)
def test_a_score_of_one_is_in_the_last_part_and_none_is_lost(scores: list[float]) -> None:
    assert sum(n for _, _, n in reliability(scores, scores)) == len(scores)
    assert calibration_error(scores, scores) == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=2, max_size=30))
def test_rank_correlation_sees_order_alone(values: list[int]) -> None:
    expected = 1.0 if len(set(values)) > 1 else 0.0
    assert spearman(values, [math.exp(v) for v in values]) == pytest.approx(expected)
    assert spearman(values, [-v for v in values]) == pytest.approx(-expected)


def test_ties_share_their_mean_rank() -> None:
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)
