"""How sure a model was of what it wrote, from the log-probabilities of its tokens.

Fu et al. 2025, Deep Think with Confidence, section 3: a token's certainty is minus the mean log-probability
of the most likely tokens at its place, high where one of them stands out; groups are windows of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean
from typing import Literal

from mull.errors import Unsupported
from mull.types import Candidate, TokenLogprob

Measure = Literal["lowest", "bottom", "tail", "mean"]
"""The least certain group, the mean of the least certain tenth of them, the last group, or all tokens."""

_FLOOR = -50.0
"""Engines report impossible tokens as minus infinity or minus thousands, which would drown all others."""


def certainty(candidate: Candidate, measure: Measure, window: int) -> float:
    """How sure the model was of a (partial) answer, 0 or more; 0 for one without any token.

    An answer shorter than a window is one group. Rounded, so that equals compare equal.

    Raises:
        Unsupported: the engine gives no log-probabilities of alternatives.
    """
    if candidate.tokens and not any(token.top for token in candidate.logprobs):
        raise Unsupported(
            "this model's engine gives no log-probabilities of alternative tokens", param="ttc.strategy"
        )
    values = [_of(token) for token in candidate.logprobs if token.top]
    if not values:
        return 0.0
    if measure == "mean":
        return round(fmean(values), 9)
    if measure == "tail":
        return round(fmean(values[-window:]), 9)
    means = sorted(_means(values, window))
    return round(fmean(means[: 1 if measure == "lowest" else math.ceil(len(means) / 10)]), 9)


def _of(token: TokenLogprob) -> float:
    return -fmean(max(_FLOOR, logprob) for _, _, logprob in token.top)


def _means(values: Sequence[float], window: int) -> list[float]:
    """The mean of each `window` consecutive values; of all of them where they are fewer."""
    size = min(window, len(values))
    sums = list(accumulate(values, initial=0.0))
    return [(high - low) / size for low, high in zip(sums, sums[size:], strict=False)]
