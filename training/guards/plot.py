"""What guards saw, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mull.training.guards.decide import PROXY, TRUE, Measurement

SIZE = (6.4, 4.0)


def rewards(series: Sequence[Measurement], peak: int, path: Path) -> None:
    """True reward on the left axis, proxy reward on the right one, and where the weights were kept."""
    figure = Figure(figsize=SIZE, layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    steps = [m.step for m in series]
    left.plot(steps, [m.mean(TRUE) for m in series], "o-", color="tab:blue")
    right.plot(steps, [m.mean(PROXY) for m in series], "s--", color="tab:orange")
    left.axvline(series[peak].step, color="0.7", zorder=0)
    left.set_xlabel("updates (line: highest true accuracy)")
    left.set_ylabel("true accuracy", color="tab:blue")
    right.set_ylabel("optimised reward", color="tab:orange")
    figure.savefig(path, dpi=120)


def accuracies(series: Sequence[Measurement], max_drop: float, path: Path) -> None:
    """Accuracy on each task, and below which training stops."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    steps = [m.step for m in series]
    for number, name in enumerate(series[0].values):
        axes.plot(steps, [m.mean(name) for m in series], "o-", color=f"C{number}", label=name)
        axes.axhline(series[0].mean(name) - max_drop, linestyle=":", color=f"C{number}")
    axes.set_xlabel("updates (dotted: where training stops)")
    axes.set_ylabel("accuracy")
    axes.legend()
    figure.savefig(path, dpi=120)
