"""Where to write the names of points so that none hides another or a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
ANGLES = 24
RADII = (7, 12, 19, 28, 39, 52, 67, 84, 103)
"""Distances from point to label that are tried, in points of 1/72 inch."""
WAYS: Array = np.array(
    [
        (math.cos(math.tau * i / ANGLES), math.sin(math.tau * i / ANGLES), radius)
        for radius in RADII
        for i in range(ANGLES)
    ]
)
"""Direction and distance of each place that is tried."""
SWEEPS = 4
MARKER = 4.5
"""Half the size of a marker, in points."""
LINE: Any = {"arrowstyle": "-", "linewidth": 0.5, "alpha": 0.7, "shrinkA": 0, "shrinkB": 3}


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text that belongs to a point of the plot."""

    text: str
    x: float
    y: float
    color: str


def write(
    axes: Axes,
    labels: Sequence[Label],
    *,
    size: float,
    steps: Sequence[tuple[float, float]] = (),
    clear: float = 0.0,
) -> None:
    """Write the labels beside their points; those that had to go further away get a line to them.

    The axes' limits and everything else in the figure must be final.

    Args:
        axes: Where the points are.
        labels: What to write.
        size: Of the letters, in points of 1/72 inch.
        clear: Room to leave around every point besides its marker.
        steps: Corners of a line of horizontal and vertical pieces that no label should hide.
    """
    if not labels:
        return
    figure: Any = axes.figure.figure
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    scale = figure.dpi / 72
    sizes = []
    for label in labels:
        probe = axes.text(label.x, label.y, label.text, fontsize=size)
        box = probe.get_window_extent(canvas.get_renderer())
        sizes.append((box.width / scale, box.height / scale))
        probe.remove()
    points = axes.transData.transform([(label.x, label.y) for label in labels]) / scale
    frame = np.array(axes.get_window_extent().extents) / scale
    corners = axes.transData.transform(np.array(steps).reshape(-1, 2)) / scale
    pieces = np.hstack(
        [np.minimum(corners[1:], corners[:-1]) - 1.5, np.maximum(corners[1:], corners[:-1]) + 1.5]
    )
    offsets = _arrange(points, np.array(sizes), frame, pieces, clear)
    for label, offset, extent in zip(labels, offsets, sizes, strict=True):
        # A line leaves the label where it is nearest to the point.
        near = (
            float(np.clip(0.5 - offset[0] / extent[0], 0, 1)),
            float(np.clip(0.5 - offset[1] / extent[1], 0, 1)),
        )
        far = math.hypot(*np.maximum(0, np.abs(offset) - np.array(extent) / 2)) > RADII[1] + clear
        written = axes.annotate(
            label.text,
            (label.x, label.y),
            (float(offset[0]), float(offset[1])),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            color=label.color,
            arrowprops={**LINE, "color": label.color, "relpos": near} if far else None,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
        written.set_in_layout(False)


def _arrange(points: Array, sizes: Array, frame: Array, pieces: Array, clear: float) -> Array:
    """Greedily the cheapest offset for each label, then again now that the others are known.

    Args:
        points: Of shape (labels, 2), as everything here in points of 1/72 inch.
        sizes: Width and height of each label.
        frame: Left, bottom, right and top of the axes.
        pieces: The same of lines to leave free.
        clear: Room around every point besides its marker.

    Returns:
        From each point to the middle of its label.
    """
    count = len(points)
    half = MARKER + clear
    markers = np.hstack([points - half, points + half])
    offsets, boxes = np.zeros((count, 2)), np.full((count, 4), np.nan)
    distance = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    for _ in range(SWEEPS):
        for i in np.argsort(-(1 / (1 + distance)).sum(1), kind="stable"):
            others = np.arange(count) != i
            placed = boxes[others & ~np.isnan(boxes[:, 0])]
            tried = WAYS[:, :2] * (WAYS[:, 2:] + clear + sizes[i] / 2)
            spots = np.hstack([points[i] + tried - sizes[i] / 2, points[i] + tried + sizes[i] / 2])
            hidden = _common(spots, placed).sum(1) + _common(spots, markers).sum(1)
            hidden += 0.3 * _common(spots, pieces).sum(1)
            outside = sizes[i].prod() - _common(spots, frame[None])[:, 0]
            crossed = _between(points[i], tried, points[others]).sum(1)
            reach = np.hstack(
                [np.minimum(points[i], points[i] + tried), np.maximum(points[i], points[i] + tried)]
            )
            tangled = (_common(reach, placed) > 0).sum(1)
            # Hiding something is far worse than being far away.
            cost = WAYS[:, 2] + 10 * (hidden + outside) + 15 * crossed + 4 * tangled
            best = int(np.argmin(cost))
            offsets[i], boxes[i] = tried[best], spots[best]
    return offsets


def _common(a: Array, b: Array) -> Array:
    """The area that each of some boxes shares with each of others."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    area: Array = np.maximum(0, high - low).prod(2)
    return area


def _between(point: Array, offsets: Array, others: Array) -> Array:
    """Which other points lie on the way from a point to each offset."""
    length = np.hypot(offsets[:, 0], offsets[:, 1])[:, None]
    ways, apart = offsets / length, others - point
    along = ways @ apart.T
    aside = np.abs(ways[:, :1] * apart[None, :, 1] - ways[:, 1:] * apart[None, :, 0])
    hit: Array = (along > 0) & (along < length) & (aside < MARKER)
    return hit
