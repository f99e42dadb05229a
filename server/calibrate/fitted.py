"""A finished calibration, as the report and the plot show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mull.server.bench.summary import Summary
from mull.server.calibrate.bins import bin_of, bounds
from mull.server.calibrate.fit import Point
from mull.server.calibrate.grid import Grid
from mull.server.calibrate.probe import Probe
from mull.server.calibrate.table import Table
from mull.server.calibrate.validate import Reached


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was measured, what was chosen, and what that is worth."""

    runs: Grid
    probe: Probe
    table: Table
    summaries: Sequence[Summary]
    """Of all runs, without a probe."""
    points: Sequence[Point]
    """The curve."""
    levels: Mapping[str, Point]
    in_sample: Mapping[str, Reached]
    held_out: Mapping[str, Reached]
    bins: int
    folds: int

    @cached_property
    def groups(self) -> list[tuple[float, Table]]:
        """The bins, easiest first: lower bound and the table of its problems."""
        lower, signals = bounds(self.table.signals, self.bins), self.table.signals
        return [
            (bound, self.table.rows([i for i, signal in enumerate(signals) if bin_of(signal, lower) == b]))
            for b, bound in enumerate(lower)
        ]

    def cheapest(self, accuracy: float) -> Summary | None:
        """The cheapest single run that is at least so accurate."""
        enough = [summary for summary in self.summaries if summary.accuracy.value >= accuracy]
        return min(enough, key=lambda s: s.tokens.value, default=None)
