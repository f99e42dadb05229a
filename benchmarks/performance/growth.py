"""Measure 8: how cost grows, with an engine that answers at once and with the real one."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from benchmarks.performance.figures import Curve, Figure, Found, Spread, Target
from benchmarks.performance.instant import STEP, Instant
from benchmarks.performance.problems import questions, task
from benchmarks.performance.stage import Free, Stage
from benchmarks.performance.turns import Way, in_turns

from mull.answers import Answers
from mull.run import Run
from mull.strategies.base import StrategyModel
from mull.strategies.beam_search import BeamSearch
from mull.strategies.majority_vote import MajorityVote

LINEAR, FLAT = Target(bound=1.05, side="at most"), Target(bound=0.05, side="at most")
SIZES = (1, 4, 16, 64, 256)
ENOUGH = 6000
"""Steps a measurement is made of, at least: processor time is counted coarsely."""


async def measure(stage: Stage, rounds: int) -> Found:
    """Mull's own processor time, then wall time with the engine."""
    alone = await own_time(stage.answers, rounds)
    real = await wall_time(stage, rounds)
    return Found(figures=[*alone.figures, *real.figures], curves=[*alone.curves, *real.curves])


async def own_time(answers: Answers, rounds: int) -> Found:
    """Processor time for each generated step, against what may make a search large."""
    figures, curves = [], []
    for what, points in scenes(answers).items():
        taken: dict[int, list[float]] = {x: [] for x in points}
        for _ in range(rounds):
            for x, scene in points.items():
                taken[x].append(await _for_a_step(scene))
        line = tuple((float(x), 1e6 * statistics.median(of)) for x, of in taken.items())
        curves.append(
            Curve(measure=8, what=what, x="size", y="processor time for a step, microseconds", points=line)
        )
        by_round = [[(x, of[turn]) for x, of in taken.items() if x > 1] for turn in range(rounds)]
        figures.append(
            Figure(
                measure=8,
                what=f"mull's processor time for a generated step, against {what}",
                value=Spread.of([exponent(points) for points in by_round]),
                unit="(exponent)",
                target=FLAT,
                note=", ".join(f"{x:.0f}: {y:.0f} µs" for x, y in line),
            )
        )
    return Found(figures=figures, curves=curves)


Scene = Callable[[], Awaitable[int]]
"""Does some work and returns the number of steps generated."""


def scenes(answers: Answers) -> Mapping[str, Mapping[int, Scene]]:
    """What is measured, by what it is measured against."""

    def scene(strategy: StrategyModel, engine: Instant | None = None, at_a_time: int = 1) -> Scene:
        generator = engine or Instant()

        async def one(seed: int) -> int:
            run = Run(task=task("?", seed), generator=generator, answers=answers, verifier=Free())
            await strategy(run.task, run)
            return run.usage.completion // STEP

        async def all_of_them() -> int:
            return sum(await asyncio.gather(*(one(seed) for seed in range(at_a_time))))

        return all_of_them

    def beam(width: int = 4) -> BeamSearch:
        return BeamSearch(width=width, expand=4, aggregate="last")

    return {
        "n of `majority_vote`": {n: scene(MajorityVote(n=n)) for n in SIZES},
        "width of `beam_search`, 4 steps each": {w: scene(beam(w)) for w in (1, 2, 4, 8, 16, 32, 64)},
        "depth of `beam_search` 4x4": {d: scene(beam(), Instant(depth=d)) for d in (2, 4, 8, 16, 32)},
        "`beam_search` 4x4 at a time": {c: scene(beam(), None, c) for c in SIZES},
        "tokens of the prompt, `beam_search` 4x4": {
            p: scene(beam(), Instant(prompt=p)) for p in (64, 256, 1024, 4096, 16384)
        },
    }


async def _for_a_step(scene: Scene) -> float:
    steps, began = 0, time.process_time()
    while steps < ENOUGH:
        steps += await scene()
    return (time.process_time() - began) / steps


async def wall_time(stage: Stage, rounds: int) -> Found:
    """Seconds for one vote, against its tokens."""
    question = task(questions(1)[0])
    asked = {n: await stage.recording(MajorityVote(n=n), question) for n in SIZES}

    def ours(n: int) -> Way:
        async def way(_: int) -> float:
            return (await stage.solve(MajorityVote(n=n), question)).usage.completion

        return way

    def raw(n: int) -> Way:
        async def way(_: int) -> float:
            return sum(await asyncio.gather(*map(stage.raw, asked[n])))

        return way

    ways = {f"mull {n}": ours(n) for n in SIZES} | {f"vLLM {n}": raw(n) for n in SIZES}
    taken = await in_turns(ways, rounds)
    curves, figures = [], []
    for who in ("mull", "vLLM"):
        by_round = [
            [(taken[f"{who} {n}"][i]["done"], taken[f"{who} {n}"][i]["seconds"]) for n in SIZES]
            for i in range(rounds)
        ]
        line = tuple(_medians(by_round))
        curves.append(Curve(measure=8, what=who, x="tokens", y="seconds of `majority_vote`", points=line))
        figures.append(
            Figure(
                measure=8,
                what=f"{who}: seconds of a vote of 1 to 256 against its tokens",
                value=Spread.of([exponent(points) for points in by_round]),
                unit="(exponent)",
                target=LINEAR if who == "mull" else None,
                note=", ".join(f"{x:,.0f} tokens: {y:.2f} s" for x, y in line),
            )
        )
    return Found(figures=figures, curves=curves)


def _medians(by_round: Sequence[Sequence[tuple[float, float]]]) -> Iterator[tuple[float, float]]:
    for points in zip(*by_round, strict=True):
        x, y = zip(*points, strict=True)
        yield statistics.median(x), statistics.median(y)


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """The power of x with which y grows, by least squares: 0 is flat, 1 is linear."""
    x, y = zip(*((math.log(x), math.log(y)) for x, y in points), strict=True)
    return statistics.linear_regression(x, y).slope
