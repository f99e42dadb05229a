"""What is measured to choose from, and how the outcomes become a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mull.server.bench.offered import Offer
from mull.server.bench.outcomes import Log
from mull.server.bench.spec import RunSpec, grid, parse_run
from mull.server.bench.sweep import Sweep
from mull.server.calibrate.probe import Probe
from mull.server.calibrate.table import Cell, Table

DEFAULT = (
    "single:greedy=true",
    *(f"{strategy}:n={n}" for strategy in ("majority_vote", "best_of_n") for n in (4, 8, 16, 32)),
    "beam_search:width=4,expand=4,prune=0.3",
    "beam_search:width=8,expand=8,prune=0.3",
)


REUSING = frozenset(
    {
        "adaptive_consistency",
        "best_of_n",
        "early_stopping",
        "majority_vote",
        "rerank",
        "select",
        "self_verify",
        "weighted_best_of_n",
    }
)
"""Strategies that take the probe's answers as their first ones, and pay for the rest only."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The runs of a calibration."""

    cells: Sequence[RunSpec]
    """What a policy may choose."""
    fixed: Sequence[RunSpec]
    """What is measured for comparison: runs that set their own sampling, which a preset cannot."""
    probe: RunSpec
    sampling: Mapping[str, Any]
    """The sampling fields that all cells have in common."""

    def name(self, run: RunSpec) -> str:
        """A run's label without what all have in common."""
        own = {field: value for field, value in run.sampling.items() if self.sampling.get(field) != value}
        return replace(run, sampling=own).label

    @property
    def runs(self) -> list[RunSpec]:
        """All of them, each once."""
        rest = [*self.cells, *self.fixed]
        return rest if self.probe in rest else [self.probe, *rest]


def default_runs(offers: Mapping[str, Offer], model: str) -> tuple[list[RunSpec], dict[str, str]]:
    """The runs of the default grid that work with a model, and why others do not."""
    runs = [parse_run(text) for text in DEFAULT]
    why = {r.strategy: offers[r.strategy].missing(model) if r.strategy in offers else "unknown" for r in runs}
    missing = {name: reason for name, reason in why.items() if reason is not None}
    return [run for run in runs if run.strategy not in missing], missing


def plan(runs: Sequence[RunSpec], sampling: Mapping[str, Any], probe: Probe) -> Grid:
    """Sort runs into what a policy may choose and what it may not.

    Raises:
        ValueError: the runs cannot make up one policy.
    """
    runs = grid(runs, [], sampling)
    cells = [run for run in runs if run.sampling == sampling]
    if not cells:
        raise ValueError("a policy has nothing to choose from: every run sets its own sampling")
    if named := [run for run in runs if run.model]:
        raise ValueError(f"{named[0].label}: a policy is for one model; give it with --model")
    if len(verifiers := sorted({run.verifier for run in cells if run.verifier})) > 1:
        raise ValueError(f"a policy has one verifier, but the runs name {' and '.join(verifiers)}")
    look = probe.run(sampling)
    if look.strategy == "best_of_n" and verifiers:
        look = replace(look, verifier=verifiers[0])
    return Grid(cells=cells, fixed=[run for run in runs if run not in cells], probe=look, sampling=sampling)


def tabulate(asked: Grid, probe: Probe, sweep: Sweep, log: Log) -> Table:
    """The table of everything that the log knows of a grid; all of it must be done."""
    probes = sweep.done(asked.probe, log)
    cells = []
    for run in asked.cells:
        done = sweep.done(run, log)
        takes = run.strategy in REUSING and all(outcome.samples for outcome in done)
        pairs = [(float(o.tokens), float(p.tokens)) for o, p in zip(done, probes, strict=True)]
        cells.append(
            Cell(
                name=asked.name(run),
                right=tuple(float(outcome.correct) for outcome in done),
                alone=tuple(own for own, _ in pairs),
                probed=tuple(max(own, first) if takes else own + first for own, first in pairs),
            )
        )
    return Table(signals=tuple(probe.read(outcome.samples) for outcome in probes), cells=tuple(cells))
