"""Pictures of the results, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path(__file__).parents[2] / "docs"
RATIOS, GROWTH = "performance-ratios.png", "performance-growth.png"


def draw(results: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Ratios against their targets, and how cost grows."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figures = [f for result in results.values() for f in result["figures"] if f["target"] and not f["unit"]]
    if figures:
        drawing, axes = pyplot.subplots(figsize=(9, 0.4 * len(figures) + 1.2), layout="constrained")
        _ratios(axes, figures)
        drawing.savefig(folder / RATIOS, dpi=110)
        pyplot.close(drawing)
    curves = [curve for result in results.values() for curve in result["curves"]]
    if curves:
        drawing, pair = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
        kinds = {curve["y"]: None for curve in curves}
        for axes, kind in zip(pair, kinds, strict=False):
            _growth(axes, [curve for curve in curves if curve["y"] == kind])
        drawing.savefig(folder / GROWTH, dpi=110)
        pyplot.close(drawing)


def _ratios(axes: Axes, figures: Sequence[Mapping[str, Any]]) -> None:
    """A dot with its spread for each figure, and a mark where its target is."""
    for place, figure in enumerate(reversed(figures)):
        value, met = figure["value"], figure["met"]
        colour = "tab:blue" if met else "tab:red"
        axes.plot((value["low"], value["high"]), (place, place), color=colour, linewidth=3, alpha=0.35)
        axes.plot(value["median"], place, "o", color=colour)
        sign = "<" if figure["target"]["side"] == "at most" else ">"
        axes.plot(figure["target"]["bound"], place, marker=sign, color="black", fillstyle="none")
    names = [f"{f['measure']}  {f['what'].replace('`', '')}" for f in reversed(figures)]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.axvline(1, color="grey", linewidth=0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("ratio: median and range of the rounds (red: target missed; arrows: targets)")


def _growth(axes: Axes, curves: Sequence[Mapping[str, Any]]) -> None:
    for curve in curves:
        x, y = zip(*curve["points"], strict=True)
        axes.plot(x, y, "o-", label=curve["what"].replace("`", ""))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(curves[0]["x"])
    axes.set_ylabel(curves[0]["y"].replace("`", ""))
    axes.grid(which="major", alpha=0.3)
    axes.legend(fontsize=8)
