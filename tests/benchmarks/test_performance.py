"""The parts of the measuring harness that measure nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.performance import adaptive, cache, contest, growth, page, plain, plots, results
from benchmarks.performance.figures import Curve, Figure, Found, Spread, Target, ratios
from benchmarks.performance.instant import STEP, Instant
from benchmarks.performance.stage import Free
from benchmarks.performance.turns import column, each, in_turns, rate

from mull.answers import Answers
from mull.run import Run
from mull.strategies.beam_search import BeamSearch
from mull.strategies.majority_vote import MajorityVote
from mull.types import Chat, Sampling, Task


def a_figure(**changes: Any) -> Figure:
    figure = Figure(
        measure=1,
        what="`best_of_n`",
        value=Spread.of([1.0, 1.2, 1.1]),
        ours=11,
        limit=10,
        sides="ms",
        target=Target(bound=1.05, side="at most"),
        note="by night",
    )
    return dataclasses.replace(figure, **changes)


def a_task() -> Task:
    return Task(chat=Chat(messages=({"role": "user", "content": "?"},)), sampling=Sampling(seed=1))


def test_spread() -> None:
    assert Spread.of([3, 1, 2, 10]) == Spread(median=2.5, low=1, high=10)


def test_ratios_are_made_round_by_round() -> None:
    # A slow round slows both: the ratio is the same in all.
    assert ratios([2, 20, 200], [1, 10, 100]) == Spread(median=2, low=2, high=2)
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("side", "value", "met"),
    [("at most", 1.05, True), ("at most", 1.06, False), ("at least", 1.05, True), ("at least", 1.0, False)],
)
def test_target(side: Any, value: float, met: bool) -> None:
    assert Target(bound=1.05, side=side).met(value) is met


async def test_ways_take_turns_in_both_orders() -> None:
    order: list[str] = []

    def way(name: str, done: float) -> Any:
        async def do(part: int) -> float:
            order.append(f"{name}{part} ")
            await asyncio.sleep(0)
            return done

        return do

    taken = await in_turns({"a": way("a", 10), "b": way("b", 20)}, 1, parts=2)
    assert "".join(order) == "a0 b0 b1 a1 " + "b0 a0 a1 b1 "  # the first round does not count
    assert column(taken, "a", "done") == [20]
    assert column(taken, "b", "done") == [40]
    assert all(seconds > 0 for seconds in each(taken, "a"))
    assert rate(taken, "a") == pytest.approx([1 / seconds for seconds in each(taken, "a")])


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_exponent(power: float) -> None:
    assert growth.exponent([(x, 3 * x**power) for x in (1, 2, 8, 64)]) == pytest.approx(power, abs=1e-9)


async def test_the_instant_engine_can_be_searched() -> None:
    async with Answers() as answers:
        run = Run(task=a_task(), generator=Instant(depth=3), answers=answers, verifier=Free())
        answer = await BeamSearch(width=2, expand=2, aggregate="last")(run.task, run)
        assert len(answer.best.candidate.steps) == 3
        assert answer.best.candidate.complete
        assert answer.best.answer is not None
        run = Run(task=a_task(), generator=Instant(depth=3), answers=answers)
        vote = await MajorityVote(n=5)(run.task, run)
        assert run.usage.completion == 5 * 3 * STEP
        assert sum(choice.answer is not None for choice in vote.choices) == 5


def test_medians_of_rounds() -> None:
    # Two values a round; those of the first one do not count.
    assert plain.by_round([9, 9, 1, 3, 10, 20], 2) == [2, 15]


def test_answers_that_are_right() -> None:
    problems = [{"answer": "3"}, {"answer": "4"}, {"answer": "5"}]
    assert contest.right([r"\boxed{2} no, \boxed{3}", r"\boxed{3}", "5"], problems) == 1


def test_what_no_cache_can_spare() -> None:
    runs: Any = [SimpleNamespace(calls=10), SimpleNamespace(calls=5)]
    assert cache.least(runs, [60, 70]) == 60 + 70 + 10 + 5


def test_adaptive_from_a_report() -> None:
    def run(name: str, tokens: float, calls: float) -> dict[str, Any]:
        share = {"value": 0.8, "low": 0.7, "high": 0.9}
        at_k = [{"k": 64, "majority": share}]
        made = {"run": name, "tokens": {"value": tokens}, "engine_calls": {"value": calls}}
        return made | {"accuracy": share, "at_k": at_k}

    names = (adaptive.BEST, adaptive.ADAPTIVE, *adaptive.STOPPING)
    report = {"runs": [run(name, 1000 / (i + 1), 64 / (i + 1)) for i, name in enumerate(names)]}
    values = [figure.value.median for figure in adaptive.compared(report).figures]
    assert values == pytest.approx([1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert [figure.target is None for figure in adaptive.compared(report).figures] == [
        False,
        False,
        True,
        True,
    ]


def test_runs_of_adaptive_can_be_read() -> None:
    from mull.server.bench.spec import parse_run

    runs = [parse_run(run) for run in adaptive.runs()]
    assert [run.label for run in runs] == [adaptive.BEST, adaptive.ADAPTIVE, *adaptive.STOPPING]


def test_results_replace_one_measure(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    curve = Curve(measure=2, what="a", x="x", y="y", points=((1, 2),))
    results.keep(2, 5, Found(figures=[a_figure(measure=2)], curves=[curve]), file)
    results.keep(1, 5, Found(figures=[a_figure(), a_figure()]), file)
    results.keep(1, 3, Found(figures=[a_figure()]), file)
    known = results.read(file)
    assert list(known) == ["1", "2"]
    assert known["1"]["rounds"] == 3
    assert len(known["1"]["figures"]) == 1
    assert known["2"]["curves"][0]["points"] == [[1, 2]]


def test_page(tmp_path: Path) -> None:
    file, text = tmp_path / "results.json", tmp_path / "page.md"
    text.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    met = a_figure(what="other", target=Target(bound=2, side="at most"), note="")
    results.keep(1, 3, Found(figures=[a_figure(), met]), file)
    page.write(results.read(file), text)
    written = text.read_text()
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old" not in written
    assert "| 1 | `best_of_n` | 1.10 | 1.00 – 1.20 | 11 ms | 10 ms | ≤ 1.05 | **missed** |" in written
    assert "| 1 | other | 1.10 | 1.00 – 1.20 | 11 ms | 10 ms | ≤ 2.00 | met |" in written
    assert "- 1, `best_of_n`: by night" in written
    page.write(results.read(file), text)
    assert text.read_text() == written


def test_page_without_its_marks(tmp_path: Path) -> None:
    text = tmp_path / "page.md"
    text.write_text("nothing\n")
    with pytest.raises(ValueError, match="figures: begin"):
        page.write({}, text)


def test_plots(tmp_path: Path) -> None:
    curve = Curve(measure=8, what="a", x="x", y="y", points=((1, 2), (4, 3)))
    file = tmp_path / "results.json"
    results.keep(8, 5, Found(figures=[a_figure(measure=8)], curves=[curve]), file)
    plots.draw(json.loads(file.read_text()), tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {plots.RATIOS, plots.GROWTH}
