"""Pictures of the results, for docs/scaling.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.performance.plots import FOLDER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPLICAS = "scaling-replicas.png"
AXES = {
    "hit_rate": "prompt tokens cached",
    "goodput": "requests/s and replica",
    "p95": "95th percentile of latency, s",
}
COLOURS = {"affine": "tab:blue", "round robin": "tab:red", "least loaded": "tab:orange"}


def draw(results: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Each figure against the number of replicas."""
    if "simulate" not in results:
        return
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    drawing, panels = pyplot.subplots(1, len(AXES), figsize=(13, 4.2), layout="constrained")
    for axes, (name, label) in zip(panels, AXES.items(), strict=True):
        _curves(axes, results["simulate"]["sizes"], name)
        axes.set_xlabel("replicas")
        axes.set_ylabel(label)
    panels[-1].set_yscale("log")
    panels[0].legend(fontsize=8)
    drawing.savefig(folder / REPLICAS, dpi=110)
    pyplot.close(drawing)


def _curves(axes: Axes, cases: Sequence[Mapping[str, Any]], name: str) -> None:
    loads = sorted({case["load"] for case in cases})
    for route, colour in COLOURS.items():
        for load, style in zip(loads, ("-", "--"), strict=False):
            points = sorted(
                (case["replicas"], case[name])
                for case in cases
                if case["route"] == route and case["load"] == load
            )
            x, y = zip(*points, strict=True)
            axes.plot(x, y, style, marker="o", markersize=4, color=colour, label=f"{route}, load {load}")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0 if name != "p95" else None)
    axes.grid(which="major", alpha=0.3)
