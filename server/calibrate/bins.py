"""Problems grouped by how hard they look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

FEWEST = 10
"""Problems that a bin must have for its figures to say anything."""


def bounds(signals: Sequence[float], most: int) -> tuple[float, ...]:
    """Lower bounds of at most `most` bins, falling; the last one is 0.

    A signal of few values (agreement among four answers) gets a bin for each of them, another one bins of
    about equal size. A bin of fewer than ten problems, or a twentieth of all, is joined with a harder one.
    Bounds lie midway between values that occur, so that rounding decides nothing.
    """
    counts = sorted(Counter(signals).items(), reverse=True)
    fewest = max(FEWEST, len(signals) // 20)
    enough = fewest if len(counts) <= most else max(fewest, round(len(signals) / most))
    found: list[float] = []
    here, left = 0, len(signals)
    for (value, count), (below, _) in pairwise(counts):
        here, left = here + count, left - count
        if here >= enough and left >= fewest and len(found) < most - 1:
            found.append(round((value + below) / 2, 6))
            here = 0
    return (*found, 0.0)


def bin_of(signal: float, lower: Sequence[float]) -> int:
    """The first bin whose lower bound the signal reaches; the last one takes what is left."""
    return next((i for i, bound in enumerate(lower) if signal >= bound), len(lower) - 1)
