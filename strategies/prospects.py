"""Which steps of a level will survive it, before all of them are there and scored."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from mull.types import Candidate


class Prospect(NamedTuple):
    """What is known of a step's score."""

    step: Candidate | None
    """None while it is still to come."""
    low: float
    high: float
    """Between these the score will be."""
    guess: float
    """What it is likely to be."""
    answer: bool
    """Whether it is, or may turn out to be, a whole answer."""


UNKNOWN = Prospect(step=None, low=-math.inf, high=math.inf, guess=1.0, answer=True)
"""A step of which nothing is known."""

ZERO = Prospect(step=None, low=0.0, high=0.0, guess=0.0, answer=False)
"""A step that could not be scored."""


def certain(rivals: Sequence[Prospect], width: int, share: float, enough: int | None) -> list[Candidate]:
    """The steps that will be among the best `width` whatever the scores turn out to be.

    Args:
        rivals: All steps of the level, and what has ended before.
        width: How many survive.
        share: The part of the best score that a survivor needs.
        enough: So many answers that are as good as the best step end the search, and nothing survives; None
            if none do.
    """
    highs = sorted(rival.high for rival in rivals)
    answers = sorted(rival.high for rival in rivals if rival.answer)
    found = []
    for rival in rivals:
        passing = _reaching(rival.low, highs) - 1
        fit = not share or rival.low >= share * highs[-1]
        over = enough is not None and _reaching(rival.low, answers) >= enough
        if rival.step is not None and passing < width and fit and not over:
            found.append(rival.step)
    return found


def probable(rivals: Sequence[Prospect], width: int, share: float) -> list[Candidate]:
    """The steps that will be among the best `width` if the guesses are right.

    Those still to come are taken to be like those that are there: each beats the step in place `p` of `k`
    with a probability of `p / (k + 1)`.
    """
    ranked = sorted((r for r in rivals if r.step is not None), key=lambda r: -r.guess)
    coming = len(rivals) - len(ranked)
    return [
        rival.step
        for place, rival in enumerate(ranked)
        if rival.step is not None
        and place + coming * (place + 1) / (len(ranked) + 1) < width
        and (not share or rival.guess >= share * ranked[0].guess)
    ]


def _reaching(value: float, ordered: Sequence[float]) -> int:
    """How many are at least so large."""
    return len(ordered) - bisect_left(ordered, value)
