"""From a table to the curve of policies: the most accuracy for every price of a token.

As in compute-optimal scaling (Snell et al. 2024, https://arxiv.org/abs/2408.03314) the choice depends on how
difficult a problem is. At a price, each bin gets the cell whose accuracy is worth its tokens; prices from
prohibitive to nothing give the curve, and the levels of the effort knob are points on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mull.server.calibrate.bins import bin_of, bounds
from mull.server.calibrate.evidence import Evidence, gather
from mull.server.calibrate.policy import Policy, joined
from mull.server.calibrate.table import Table

LEVELS: Mapping[str, float] = {"low": 0.75, "medium": 0.9, "high": 0.97, "xhigh": 0.995}
"""The share of the greatest gain in accuracy over the cheapest cell that each effort is to reach."""
CAUTION = 1.0
"""Standard errors by which a difference must exceed what it costs."""
PRICES = (*(10 ** (1 - i / 12) for i in range(73)), 0.0)
"""Accuracy that as many tokens as the cheapest cell spends must earn."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A policy, its accuracy and its mean tokens on the problems that it was fitted to."""

    policy: Policy
    accuracy: float
    tokens: float


def curve(table: Table, most_bins: int) -> list[Point]:
    """Policies of which none is beaten by a cheaper one, cheapest first; the first is the cheapest cell."""
    every = range(len(table))
    whole = gather(table.cells, every, probed=False)
    lower = bounds(table.signals, most_bins)
    groups = [
        gather(table.cells, [i for i in every if bin_of(table.signals[i], lower) == b], probed=True)
        for b in range(len(lower))
    ]
    policies = {Policy(cells=(_by_cost(whole)[0],))}
    for price in (price / max(1.0, min(whole.tokens)) for price in PRICES):
        policies.add(Policy(cells=(_choose(whole, price),)))
        policies.add(joined(Policy(lower=lower, cells=_by_bin(groups, price))))
    found = []
    for policy in policies:
        right, tokens = policy.outcomes(table)
        found.append(Point(policy=policy, accuracy=fmean(right), tokens=fmean(tokens)))
    front: list[Point] = []
    for point in sorted(found, key=lambda p: (p.tokens, -p.accuracy, p.policy.cells)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def levels(points: Sequence[Point]) -> dict[str, Point]:
    """For each effort the cheapest point of a curve that reaches its share of the greatest gain."""
    base, best = points[0].accuracy, points[-1].accuracy
    return {
        effort: next(p for p in points if p.accuracy >= min(best, base + share * (best - base)))
        for effort, share in LEVELS.items()
    }


def _by_cost(evidence: Evidence) -> list[int]:
    """All cells, cheapest first; of equally cheap ones the more accurate first."""
    return sorted(range(len(evidence.tokens)), key=lambda c: (evidence.tokens[c], -evidence.value[c]))


def _choose(evidence: Evidence, price: float) -> int:
    """The cheapest cell, unless a dearer one is distinguishably worth its price."""
    chosen, *dearer = _by_cost(evidence)
    for cell in dearer:
        extra = price * (evidence.tokens[cell] - evidence.tokens[chosen])
        if evidence.gain(cell, chosen) - CAUTION * evidence.errors[cell][chosen] > extra:
            chosen = cell
    return chosen


def _by_bin(groups: Sequence[Evidence], price: float) -> tuple[int, ...]:
    """A cell for each bin, easiest first.

    A harder bin gets less than an easier one only where the figures say clearly that more is of no use.
    """
    chosen: list[int] = []
    for group in groups:
        cell = _choose(group, price)
        if chosen and group.tokens[chosen[-1]] > group.tokens[cell]:
            easier = chosen[-1]
            possible = group.gain(easier, cell) + CAUTION * group.errors[easier][cell]
            if possible > price * (group.tokens[easier] - group.tokens[cell]):
                cell = easier
        chosen.append(cell)
    return tuple(chosen)
