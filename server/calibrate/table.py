"""What was measured, as numbers: how hard each problem looks, and what each choice makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One choice, a strategy with its budget, on every problem."""

    name: str
    right: tuple[float, ...]
    """For each problem 1 if it was solved, else 0."""
    alone: tuple[float, ...]
    """Generated tokens when it is all that is done."""
    probed: tuple[float, ...]
    """Generated tokens when a probe comes first, whose answers it takes where it can."""

    @property
    def accuracy(self) -> float:
        """Share of the problems solved."""
        return fmean(self.right)

    @property
    def tokens(self) -> float:
        """Mean tokens without a probe."""
        return fmean(self.alone)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Problems by choices."""

    signals: tuple[float, ...]
    """How easy each problem looks to a cheap probe; larger is easier."""
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        if not self.cells or any(len(c.right) != len(self.signals) for c in self.cells):
            raise ValueError("every cell must have a figure for every problem, and there must be a cell")

    def __len__(self) -> int:
        return len(self.signals)

    def rows(self, indices: Sequence[int]) -> Table:
        """The same for some of the problems."""

        def pick(values: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(values[i] for i in indices)

        return Table(
            signals=pick(self.signals),
            cells=tuple(
                replace(c, right=pick(c.right), alone=pick(c.alone), probed=pick(c.probed))
                for c in self.cells
            ),
        )
