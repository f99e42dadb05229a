from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from mull.server.bench import labels
from mull.server.bench.labels import Label
from mull.server.bench.plot import draw, pareto
from mull.server.bench.spec import parse_run
from mull.server.bench.statistics import Estimate, proportion
from mull.server.bench.summary import Summary


def summary(text: str, tokens: float, right: int, of: int = 100) -> Summary:
    shares = tuple([1.0] * right + [0.0] * (of - right))
    none, spent = Estimate(value=0, low=0, high=0), Estimate(value=tokens, low=tokens, high=tokens)
    return Summary(
        run=parse_run(text),
        repeats=1,
        shares=shares,
        accuracy=proportion(shares),
        tokens=spent,
        verifier_tokens=none,
        seconds=none,
        engine_calls=none,
        stopped={},
        by_steps={},
    )


def names(found: Sequence[Summary]) -> list[str]:
    return [one.run.label for one in found]


def test_the_front_is_what_nothing_cheaper_reaches() -> None:
    runs = [
        summary("e", 900, 80),
        summary("a", 10, 50),
        summary("b", 20, 50),
        summary("c", 20, 60),
        summary("d", 300, 55),
    ]
    assert names(pareto(runs)) == ["a", "c", "e"]


@pytest.mark.parametrize("seed", range(3))
def test_no_label_of_many_hides_another_or_a_point(seed: int) -> None:
    rng = random.Random(seed)
    figure = Figure(figsize=(11, 8))
    axes: Axes = figure.add_subplot()
    axes.set_xscale("log")
    # As crowded as it gets: half of the runs cost the same.
    x = [rng.choice([900, 900, 58, 120, 300, 480, 600, 1500]) * rng.uniform(0.97, 1.05) for _ in range(35)]
    y = [rng.gauss(72, 3.5) for _ in x]
    axes.plot(x, y, "o")
    axes.margins(0.18, 0.1)
    named = [
        Label(text=f"some_strategy n={i}", x=a, y=b, color="k")
        for i, (a, b) in enumerate(zip(x, y, strict=True))
    ]
    labels.write(axes, named, size=7.5)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    # Of the text alone, without its line.
    extents = [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts]  # type: ignore[no-untyped-call]
    assert len(extents) == 35
    overlapping = [
        (i, j)
        for i, a in enumerate(extents)
        for j, b in enumerate(extents[:i])
        if a.shrunk(0.98, 0.98).overlaps(b)
    ]
    assert overlapping == []
    points = axes.transData.transform(list(zip(x, y, strict=True)))
    assert not [1 for box in extents for px, py in points if box.contains(px, py)]
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in extents)


@pytest.mark.parametrize("count", [1, 5, 35])
def test_any_number_of_runs_can_be_drawn(count: int, tmp_path: Path) -> None:
    runs = [summary(f"s{i}:n={i}", 10.0 * (i + 1), min(99, 50 + i)) for i in range(count)]
    draw(runs, [tmp_path / "p.svg"], title="t")
    assert "<svg" in (tmp_path / "p.svg").read_text()
