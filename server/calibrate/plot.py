"""Accuracy against tokens in every bin, and the curve of policies over all problems."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mull.server.bench.labels import Label, write
from mull.server.bench.plot import COLORS, FAINT, INK, MARKERS, STYLE, dress
from mull.server.bench.spec import RunSpec
from mull.server.calibrate.fitted import Fitted
from mull.server.calibrate.table import Table


def draw(fitted: Fitted, paths: Iterable[Path], *, title: str) -> None:
    """Write the plot to each path; its ending says the format.

    One panel a bin: every run there, the probe's tokens included, with a ring and the name around what a
    level chooses. The last panel: all problems, runs without a probe, the fitted curve, and each level as it
    did on problems that it was not fitted to.
    """
    panels = len(fitted.groups) + 1
    columns = min(3, panels)
    rows = math.ceil(panels / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(5 * columns, 4.2 * rows), layout="constrained", facecolor="white")
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        labels = []
        for axes, (bound, group) in zip(grid, fitted.groups, strict=False):
            count = f"{len(group)} problem" + ("s" if len(group) > 1 else "")
            dress(axes, f"{fitted.probe.signal} ≥ {bound:g}: {count}")
            labels.append((axes, _draw_bin(axes, fitted, bound, group)))
        last = grid[panels - 1]
        dress(last, "all problems; levels as held out")
        labels.append((last, _draw_all(last, fitted)))
        for i, axes in enumerate(grid):
            axes.set_visible(i < panels)
            axes.set_xlabel("generated tokens per problem" if i + columns >= panels else "")
            axes.set_ylabel("accuracy, %" if i % columns == 0 else "")
            _widen(axes)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        for axes, texts in labels:
            write(axes, texts, size=7.5, clear=3)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=140, metadata=metadata)


def _widen(axes: Axes) -> None:
    """Show at least ten points of accuracy, and none beyond what there can be."""
    low, high = axes.get_ylim()
    more = max(0.0, (10 - (high - low)) / 2)
    axes.set_ylim(max(-3, low - more), min(103, high + more))


def _draw_bin(axes: Axes, fitted: Fitted, bound: float, group: Table) -> list[Label]:
    places = [(max(1.0, fmean(c.probed)), 100 * c.accuracy) for c in group.cells]
    _draw_runs(axes, fitted.runs.cells, places)
    chosen: dict[int, list[str]] = {}
    for effort, point in fitted.levels.items():
        chosen.setdefault(point.policy.choice(bound), []).append(effort)
    for cell in chosen:
        axes.plot(*places[cell], "o", markersize=13, markerfacecolor="none", markeredgecolor=INK)
    return [
        Label(text=", ".join(efforts), x=places[cell][0], y=places[cell][1], color=INK)
        for cell, efforts in chosen.items()
    ]


def _draw_all(axes: Axes, fitted: Fitted) -> list[Label]:
    measured = {s.run.label: (max(1.0, s.tokens.value), 100 * s.accuracy.value) for s in fitted.summaries}
    _draw_runs(axes, fitted.runs.cells, [measured[run.label] for run in fitted.runs.cells])
    for run in fitted.runs.fixed:
        axes.plot(*measured[run.label], "x", color=FAINT, label=run.label)
    axes.plot(
        [max(1.0, p.tokens) for p in fitted.points],
        [100 * p.accuracy for p in fitted.points],
        color=INK,
        linewidth=1,
        alpha=0.5,
        label="fitted policies",
    )
    reached: dict[tuple[float, float], list[str]] = {}
    for effort, held in fitted.held_out.items():
        reached.setdefault((max(1.0, fmean(held.tokens)), 100 * fmean(held.right)), []).append(effort)
    for place in reached:
        axes.plot(*place, "D", color=INK, markersize=7, markeredgecolor="white")
    return [Label(text=", ".join(efforts), x=x, y=y, color=INK) for (x, y), efforts in reached.items()]


def _draw_runs(axes: Axes, runs: Sequence[RunSpec], places: Sequence[tuple[float, float]]) -> None:
    """A color a strategy, a point a run, joined by rising cost."""
    families: dict[str, list[tuple[float, float]]] = {}
    for run, place in zip(runs, places, strict=True):
        families.setdefault(run.strategy, []).append(place)
    for i, (name, family) in enumerate(families.items()):
        axes.plot(
            *zip(*sorted(family), strict=True),
            color=COLORS[i % len(COLORS)],
            marker=MARKERS[i % len(MARKERS)],
            markeredgecolor="white",
            linewidth=1.1,
            label=name,
        )
