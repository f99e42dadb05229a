"""Accuracy against generated tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mull.server.bench.statistics import Estimate
from mull.server.bench.summary import Summary

INK, FAINT, GRID = "#1f2430", "#7a8290", "#e3e6eb"
COLORS = ("#3366cc", "#d9480f", "#2b8a3e", "#9c36b5", "#b08900", "#0b7285", "#c2255c", "#5f3dc4")
MARKERS = "osD^vPX*"
STYLE: Any = {
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "mull",
}


def draw(summaries: Sequence[Summary], paths: Iterable[Path], *, title: str) -> None:
    """Write the plot to each path; its ending says the format.

    A color a strategy, a point a run, its bar the 95 % interval; runs of one strategy are joined. Where a run
    kept its samples, a dotted line shows how often any of the first k is right, the ceiling for choosing.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 5.4), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        families = _families(summaries)
        for i, (name, family) in enumerate(families.items()):
            _draw_family(axes, name, family, i, 1.02 ** (i - len(families) / 2))
        _draw_ceiling(axes, summaries)
        _dress(axes, title)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=160, metadata=metadata)


def _families(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Runs by strategy and verifier; inside, cheapest first."""
    families: dict[str, list[Summary]] = {}
    for summary in summaries:
        name = summary.run.strategy + (f", {summary.run.verifier}" if summary.run.verifier else "")
        families.setdefault(name, []).append(summary)
    return {name: sorted(family, key=lambda s: s.tokens.value) for name, family in families.items()}


def _draw_family(axes: Axes, name: str, family: Sequence[Summary], index: int, aside: float) -> None:
    """Draw it, moved `aside` by a percent or so, for runs of equal cost would hide one another's bars."""
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    # Runs that differ in sampling alone spend the same, and no line leads from one to the other.
    joined = any(summary.run.parameters or summary.run.budget for summary in family)
    # A curve rises, so its labels have room above on the left and below on the right.
    label_at, side = ((-7, 6), "right") if joined and index % 2 else ((7, -12), "left")
    x = [max(1.0, s.tokens.value) * aside for s in family]
    y = [100 * s.accuracy.value for s in family]
    axes.errorbar(
        x,
        y,
        yerr=_bars([s.accuracy for s in family]),
        color=color,
        marker=marker,
        markersize=7,
        markeredgecolor="white",
        linestyle="-" if joined else "",
        linewidth=1.2,
        elinewidth=1,
        capsize=3,
        label=name,
    )
    for summary, at, height in zip(family, x, y, strict=True):
        text = _short(summary)
        axes.annotate(
            text, (at, height), label_at, textcoords="offset points", ha=side, fontsize=8, color=color
        )


def _short(summary: Summary) -> str:
    """What sets a run apart from others of its strategy: its numbers."""
    run = summary.run
    parts = [f"{name}={value}" for name, value in (run.parameters or run.sampling).items()]
    parts += [f"≤ {limit} {name}" for name, limit in run.budget.items()]
    return ", ".join(parts)


def _draw_ceiling(axes: Axes, summaries: Sequence[Summary]) -> None:
    """pass@k of the run with the most samples."""
    with_samples = [s for s in summaries if s.at_k]
    if with_samples:
        at_k = max(with_samples, key=lambda s: s.at_k[-1].k).at_k
        x, y = [at.tokens for at in at_k], [100 * at.passed.value for at in at_k]
        axes.plot(x, y, ":", color=FAINT, linewidth=1.5, zorder=1, label="pass@k: any of k samples is right")


def _bars(shares: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of the error bars, below and above."""
    return [[100 * (s.value - s.low) for s in shares], [100 * (s.high - s.value) for s in shares]]


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, pad=12)
    axes.set_xscale("log")
    axes.set_xlabel("generated tokens per problem, hidden ones included (log scale)")
    axes.set_ylabel("accuracy, %")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.18)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
