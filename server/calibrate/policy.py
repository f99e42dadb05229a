"""A policy: which choice for which problem; and what it would have done."""

from __future__ import annotations

from dataclasses import dataclass

from mull.server.calibrate.bins import bin_of
from mull.server.calibrate.table import Table


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The same choice for all problems, or one for each bin after a probe."""

    lower: tuple[float, ...] = (0.0,)
    """Lower bounds of the bins, easiest first; see `bins.bounds`."""
    cells: tuple[int, ...]
    """For each bin its choice, as an index into the table's cells."""

    @property
    def probes(self) -> bool:
        """Whether it has to look at a problem first."""
        return len(self.lower) > 1

    def choice(self, signal: float) -> int:
        """The cell for a problem."""
        return self.cells[bin_of(signal, self.lower)]

    def outcomes(self, table: Table) -> tuple[list[float], list[float]]:
        """For each problem whether it is solved, and the tokens spent."""
        right, tokens = [], []
        for i, signal in enumerate(table.signals):
            cell = table.cells[self.choice(signal)]
            right.append(cell.right[i])
            tokens.append(cell.probed[i] if self.probes else cell.alone[i])
        return right, tokens


def joined(policy: Policy) -> Policy:
    """The same policy without bounds between bins that choose the same; one choice alone needs no probe."""
    ends = [i for i, cell in enumerate(policy.cells) if policy.cells[i + 1 : i + 2] != (cell,)]
    return Policy(lower=tuple(policy.lower[i] for i in ends), cells=tuple(policy.cells[i] for i in ends))
