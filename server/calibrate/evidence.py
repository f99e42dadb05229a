"""What the figures of a group of problems say about two choices, and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mull.server.calibrate.table import Cell

PRIOR = 2.0
"""Problems at a cell's overall accuracy that are added to each group, so that few problems say little."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Accuracy and cost of every cell on some of the problems."""

    size: int
    tokens: tuple[float, ...]
    """Mean tokens of each cell."""
    value: tuple[float, ...]
    """Accuracy of each cell, drawn towards its accuracy on all problems."""
    errors: tuple[tuple[float, ...], ...]
    """Standard error of the difference in accuracy of two cells, both measured on the same problems."""

    def gain(self, cell: int, other: int) -> float:
        """How much more accurate one cell is than another."""
        return self.value[cell] - self.value[other]


def gather(cells: Sequence[Cell], rows: Sequence[int], *, probed: bool) -> Evidence:
    """The evidence of the problems `rows`, at the cost with or without a probe."""
    n = len(rows)
    right = [[cell.right[i] for i in rows] for cell in cells]
    spent = [[(cell.probed if probed else cell.alone)[i] for i in rows] for cell in cells]
    return Evidence(
        size=n,
        tokens=tuple(math.fsum(tokens) / n for tokens in spent),
        value=tuple(
            (math.fsum(r) + PRIOR * cell.accuracy) / (n + PRIOR) for r, cell in zip(right, cells, strict=True)
        ),
        errors=tuple(tuple(_error(a, b) for b in right) for a in right),
    )


def _error(first: Sequence[float], second: Sequence[float]) -> float:
    """Of the mean difference, with one win and one loss more (Bonett and Price 2012).

    The two keep it honest where the cells hardly ever differ.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    n = len(differences) + 2
    mean = math.fsum(differences) / n
    variance = (math.fsum((d - mean) ** 2 for d in differences) + (1 - mean) ** 2 + (1 + mean) ** 2) / n
    return math.sqrt(variance / n)
