"""What a fit is worth on problems that it has not seen."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mull.server.calibrate.fit import LEVELS, curve, levels
from mull.server.calibrate.table import Table


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What a level of effort did on each problem."""

    right: tuple[float, ...]
    tokens: tuple[float, ...]


def in_sample(table: Table, most_bins: int) -> dict[str, Reached]:
    """Each level on the problems that it was fitted to: too good, by as much as the fit follows chance."""
    found = {}
    for effort, point in levels(curve(table, most_bins)).items():
        right, tokens = point.policy.outcomes(table)
        found[effort] = Reached(right=tuple(right), tokens=tuple(tokens))
    return found


def cross_validated(table: Table, most_bins: int, *, folds: int, seed: int) -> dict[str, Reached]:
    """Each level on every problem, fitted anew each time, bins and levels too, without the problem's fold.

    Raises:
        ValueError: there are fewer problems than folds.
    """
    n = len(table)
    if not 2 <= folds <= n:
        raise ValueError(f"folds must be from 2 to the number of problems, {n}, not {folds}")
    order = list(range(n))
    random.Random(seed).shuffle(order)
    right = {effort: [0.0] * n for effort in LEVELS}
    tokens = {effort: [0.0] * n for effort in LEVELS}
    for fold in range(folds):
        held, rest = sorted(order[fold::folds]), sorted(set(order) - set(order[fold::folds]))
        fitted = levels(curve(table.rows(rest), most_bins))
        for effort, point in fitted.items():
            solved, spent = point.policy.outcomes(table.rows(held))
            for i, was_right, cost in zip(held, solved, spent, strict=True):
                right[effort][i], tokens[effort][i] = was_right, cost
    return {effort: Reached(right=tuple(right[effort]), tokens=tuple(tokens[effort])) for effort in LEVELS}
