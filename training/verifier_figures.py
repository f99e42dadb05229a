"""What a verifier is worth: does it find first errors, rank answers, and say true probabilities?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mull.training.data.labels import first_error
from mull.training.statistics import Figure, auc, bootstrap, mean
from mull.verifiers.reliability import brier, curve
from mull.verifiers.reliability import calibration_error as reliability_error

THRESHOLDS = tuple(n / 100 for n in range(1, 100))
DRAWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An answer and what a verifier says of it."""

    score: float
    """Probability that the answer is right."""
    right: bool
    steps: tuple[float, ...] = ()
    """Probability of each step that it and all before it are correct."""
    truth: tuple[bool, ...] | None = None
    """Whether they are; None where nobody knows."""


Case = Sequence[Judged]
"""The judged answers of one problem."""


def answer_figures(cases: Sequence[Case]) -> dict[str, Figure]:
    """Ranking and calibration of the scores of whole answers, with bootstraps over problems."""

    def over(statistic: Callable[[Sequence[float], Sequence[bool]], float]) -> Figure:
        def of(drawn: Sequence[Case]) -> float:
            answers = [a for case in drawn for a in case]
            return statistic([a.score for a in answers], [a.right for a in answers])

        return bootstrap(cases, of, DRAWS)

    n = max(len(case) for case in cases)
    return {
        f"best-of-{n}": bootstrap(cases, lambda cs: mean([best(c) for c in cs])),
        "AUC of the answer": over(auc),
        "Brier score": over(brier),
        "calibration error": over(calibration_error),
    }


def step_figures(cases: Sequence[Case]) -> dict[str, Figure]:
    """How well first errors are found, and calibration of the scores of steps.

    F1 is that of ProcessBench (Zheng et al. 2024, arXiv:2412.06559). The threshold below which a step is held
    for wrong is chosen for each half of the problems on the other half.
    """
    halves = cases[::2], cases[1::2]
    verdicts = [
        [verdict(a, threshold) for a in case]
        for half, other in (halves, halves[::-1])
        for threshold in [best_threshold(other)]
        for case in half
    ]

    def part(index: int) -> Callable[[Sequence[Sequence[tuple[bool, bool]]]], float]:
        return lambda drawn: first_error_f1([v for case in drawn for v in case])[index]

    def over(statistic: Callable[[Sequence[float], Sequence[bool]], float]) -> Figure:
        def of(drawn: Sequence[Case]) -> float:
            answers = [a for case in drawn for a in case]
            truth = [good for a in answers for good in a.truth or ()]
            return statistic([score for a in answers for score in a.steps], truth)

        return bootstrap(cases, of, DRAWS)

    return {
        "first-error F1": bootstrap(verdicts, part(0), DRAWS),
        "first error found": bootstrap(verdicts, part(1), DRAWS),
        "correct solutions passed": bootstrap(verdicts, part(2), DRAWS),
        "Brier score of steps": over(brier),
        "calibration error of steps": over(calibration_error),
    }


def best(case: Case) -> bool:
    """Whether the answer with the highest score is right; the first wins ties."""
    return max(case, key=lambda a: a.score).right


def verdict(answer: Judged, threshold: float) -> tuple[bool, bool]:
    """Whether an answer has a wrong step, and whether the first such is the one found (or none is)."""
    truth = first_error([float(good) for good in answer.truth or ()])
    return truth is not None, first_error(answer.steps, threshold) == truth


def first_error_f1(verdicts: Sequence[tuple[bool, bool]]) -> tuple[float, float, float]:
    """Harmonic mean of two accuracies, and these: on answers with a wrong step, and on those without."""
    found = mean([hit for wrong, hit in verdicts if wrong])
    passed = mean([hit for wrong, hit in verdicts if not wrong])
    return 2 * found * passed / (found + passed) if found + passed else 0.0, found, passed


def best_threshold(cases: Sequence[Case]) -> float:
    """The threshold of the highest F1."""
    answers = [a for case in cases for a in case]
    return max(THRESHOLDS, key=lambda t: first_error_f1([verdict(a, t) for a in answers])[0])


def reliability(scores: Sequence[float], labels: Sequence[float]) -> list[tuple[float, float, int]]:
    """Mean score, mean outcome and number of members of each tenth of [0, 1] that has some."""
    return [
        (part.predicted, part.observed, part.count)
        for part in curve(scores, labels)
        if part.predicted is not None and part.observed is not None
    ]


def calibration_error(scores: Sequence[float], labels: Sequence[float]) -> float:
    """Expected calibration error with ten bins."""
    return reliability_error(curve(scores, labels))


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation, ties sharing their mean rank; 0 where one of the two is constant."""
    ranks = [_ranks(a), _ranks(b)]
    if min(r.std() for r in ranks) == 0:
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, at, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: np.ndarray = (2 * ends - counts - 1) / 2
    return means[at]
