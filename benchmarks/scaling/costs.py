"""What a step of an engine takes, fitted to steps that were measured.

In processor time: an engine computes in one thread, and has to wait for nothing but a core. So the costs
are those of an engine with a core to itself, however busy the machine was.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 3
"""Steps of one kind that make a median."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of an engine did."""

    decoding: int
    """Sequences that went on by a token."""
    begun: int
    """Sequences whose prompt was computed."""
    tokens: int
    """Tokens of these prompts that were not cached."""
    seconds: float
    """Of processor time, until the next one began."""
    wall: float
    """The same by the clock."""


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Seconds that a step takes: so much in any case, and more for what it does."""

    base: float
    decoding: float = 0.0
    begun: float = 0.0
    token: float = 0.0

    def seconds(self, decoding: int, begun: int, tokens: int) -> float:
        """Of a step with so many sequences that go on, that begin, and tokens of the latter's prompts."""
        return self.base + self.decoding * decoding + self.begun * begun + self.token * tokens


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A cost with what it leaves unexplained."""

    cost: StepCost
    error: float
    """Median of |predicted - measured| / measured, over the medians of the kinds of steps."""
    total: float
    """Predicted over measured seconds of all steps together."""
    steps: int
    kinds: int


def fit(steps: Sequence[Step]) -> Fit:
    """Least squares over the medians of each kind of step, relative to the median, none below nothing.

    A median does not mind a few long steps.

    Raises:
        ValueError: there are fewer kinds of steps than costs.
    """
    import numpy

    known = defaultdict[tuple[int, int, int], list[Step]](list)
    for step in steps:
        known[_coarse(step.decoding), _coarse(step.begun), _coarse(step.tokens)].append(step)
    kinds = [_median(alike) for alike in known.values() if len(alike) >= ENOUGH]
    if len(kinds) < 4:
        raise ValueError(f"{len(kinds)} kinds of steps are too few for four costs")
    # Divided by what was measured: short steps count as much as long ones.
    rows = numpy.array([(1.0, *done) for *done, _ in kinds])
    measured = numpy.array([seconds for *_, seconds in kinds])
    free = [0, 1, 2, 3]
    while True:
        found, *_ = numpy.linalg.lstsq(rows[:, free] / measured[:, None], numpy.ones(len(kinds)), rcond=None)
        if (found >= 0).all():
            break
        free.pop(int(found.argmin()))
    values = dict(zip(free, map(float, found), strict=True))
    cost = StepCost(
        base=values.get(0, 0.0),
        decoding=values.get(1, 0.0),
        begun=values.get(2, 0.0),
        token=values.get(3, 0.0),
    )
    predicted = rows[:, free] @ found
    total = sum(cost.seconds(step.decoding, step.begun, step.tokens) for step in steps)
    return Fit(
        cost=cost,
        error=float(numpy.median(abs(predicted - measured) / measured)),
        total=total / sum(step.seconds for step in steps),
        steps=len(steps),
        kinds=len(kinds),
    )


def _coarse(count: int) -> int:
    """Numbers that differ by a tenth or so are alike."""
    return count if count < 10 else round(10 * math.log(count, 2.6))


def _median(alike: Sequence[Step]) -> tuple[float, float, float, float]:
    """The mean of what they did, and the median of what they took."""
    return (
        statistics.fmean(step.decoding for step in alike),
        statistics.fmean(step.begun for step in alike),
        statistics.fmean(step.tokens for step in alike),
        statistics.median(step.seconds for step in alike),
    )
