"""Accuracy against generated tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mull.server.bench.labels import Label, write
from mull.server.bench.statistics import Estimate
from mull.server.bench.summary import Summary
from mull.server.bench.text import written

INK, FAINT, QUIET, GRID = "#1f2430", "#7a8290", "#6b7280", "#e3e6eb"
COLORS = ("#3366cc", "#d9480f", "#2b8a3e", "#9c36b5", "#b08900", "#0b7285", "#c2255c", "#5f3dc4")
MARKERS = "osD^vPX*"
LONGEST = 44
"""Characters of a label; what is longer is cut."""
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

    A color a strategy, a point a run, its bar the 95 % interval; runs of one strategy are joined. With more
    strategies than there are colors, color only tells the Pareto front from the rest. Where a run kept its
    samples, a dotted line shows how often any of the first k is right, the ceiling for choosing.
    """
    families = _families(summaries)
    many = len(families) > len(COLORS)
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 8) if many else (8, 5.4), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        front = pareto(summaries)
        if many:
            labels = _draw_many(axes, summaries, front)
        else:
            labels = [
                label
                for i, (name, family) in enumerate(families.items())
                for label in _draw_family(axes, name, family, i, 1.02 ** (i - len(families) / 2))
            ]
        steps = _draw_front(axes, front)
        _draw_ceiling(axes, summaries)
        dress(axes, title)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        write(axes, labels, size=7.5 if many else 8, steps=steps)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=160, metadata=metadata)


def pareto(summaries: Sequence[Summary]) -> list[Summary]:
    """The runs that are more accurate than all cheaper ones, cheapest first."""
    front: list[Summary] = []
    for summary in sorted(summaries, key=lambda s: (s.tokens.value, -s.accuracy.value)):
        if not front or summary.accuracy.value > front[-1].accuracy.value:
            front.append(summary)
    return front


def _families(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Runs by strategy and verifier; inside, cheapest first."""
    families: dict[str, list[Summary]] = {}
    for summary in summaries:
        name = summary.run.strategy + (f", {summary.run.verifier}" if summary.run.verifier else "")
        families.setdefault(name, []).append(summary)
    return {name: sorted(family, key=lambda s: s.tokens.value) for name, family in families.items()}


def _draw_family(axes: Axes, name: str, family: Sequence[Summary], index: int, aside: float) -> list[Label]:
    """Draw it, moved `aside` by a percent or so, for runs of equal cost would hide one another's bars."""
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    # Runs that differ in sampling alone spend the same, and no line leads from one to the other.
    joined = any(summary.run.parameters or summary.run.budget for summary in family)
    x = [_tokens(s) * aside for s in family]
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
    return [
        Label(text=_short(summary), x=at, y=height, color=color)
        for summary, at, height in zip(family, x, y, strict=True)
        if _short(summary)
    ]


def _draw_many(axes: Axes, summaries: Sequence[Summary], front: Sequence[Summary]) -> list[Label]:
    """Points without legend; all are named, and their intervals only hinted at."""
    labels = []
    for summary in summaries:
        color = COLORS[0] if summary in front else QUIET
        x, y = _tokens(summary), 100 * summary.accuracy.value
        axes.errorbar(
            x,
            y,
            yerr=_bars([summary.accuracy]),
            color=color,
            ecolor=(color, 0.18),
            marker="o",
            markersize=7 if summary in front else 5.5,
            markeredgecolor="white",
            elinewidth=1,
            zorder=4 if summary in front else 3,
        )
        text = " ".join(filter(None, (summary.run.strategy, _short(summary))))
        labels.append(Label(text=summary.run.name or text, x=x, y=y, color=color))
    return labels


def _draw_front(axes: Axes, front: Sequence[Summary]) -> list[tuple[float, float]]:
    """A step from each run of the Pareto front to the next; its corners."""
    corners: list[tuple[float, float]] = []
    for summary in front:
        x, y = _tokens(summary), 100 * summary.accuracy.value
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    axes.plot(
        *zip(*corners, strict=True),
        color=INK,
        linewidth=0.9,
        alpha=0.45,
        zorder=1,
        label="Pareto front: nothing cheaper is as accurate",
    )
    return corners


def _tokens(summary: Summary) -> float:
    """Where it stands on the logarithmic axis."""
    return max(1.0, summary.tokens.value)


def _short(summary: Summary) -> str:
    """What sets a run apart from others of its strategy: its numbers, or the name that it was given."""
    run = summary.run
    parts = (
        [run.name] if run.name else [f"{k}={written(v)}" for k, v in (run.parameters or run.sampling).items()]
    )
    parts += [f"≤ {limit} {name}" for name, limit in run.budget.items()]
    text = ", ".join(parts)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


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


def dress(axes: Axes, title: str) -> None:
    """Title, scales and grid."""
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
