"""Measure 6: how long a step search waits for its verifier, over how long for generations."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.performance.figures import Figure, Found, Spread, Target
from benchmarks.performance.problems import questions, task
from benchmarks.performance.stage import Stage
from benchmarks.performance.turns import engine_time

from mull.protocols import Verifier
from mull.strategies.beam_search import BeamSearch
from mull.types import Candidate, Score, Task

TARGET = Target(bound=0.2, side="at most")
PROBLEMS = 8
"""In each round, one after the other."""


class Timed:
    """A verifier under a stopwatch."""

    def __init__(self, verifier: Verifier) -> None:
        self.name, self.kind = verifier.name, verifier.kind
        self.seconds = self.engine = self.apart = 0.0
        self._verifier = verifier

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """What the other one says."""
        outside = time.perf_counter()
        engine, began = engine_time(), time.perf_counter()
        try:
            return await self._verifier.score(task, candidates)
        finally:
            ended = time.perf_counter()
            self.seconds += ended - began
            self.engine += engine_time() - engine
            self.apart += time.perf_counter() - ended + began - outside


async def measure(stage: Stage, rounds: int) -> Found:
    """For the bundled reward model, and for the verifier that is served by default."""
    figures = []
    asked = questions(2000 + PROBLEMS * (rounds + 1))[2000:]
    for name, what in (("prm", "`models/prm`"), ("solver", "`models/solver`, the default")):
        waits, works, scored = list[float](), list[float](), list[float]()
        for turn in range(-1, rounds):
            timed, engine, began = Timed(stage.verifiers[name]), engine_time(), time.perf_counter()
            search = BeamSearch(width=4, expand=4)
            mine = asked[PROBLEMS * (turn + 1) :][:PROBLEMS]
            runs = [await stage.solve(search, task(question, turn), timed) for question in mine]
            seconds, engine = time.perf_counter() - began - timed.apart, engine_time() - engine
            if turn >= 0:
                waits.append(timed.seconds / (seconds - timed.seconds))
                works.append(timed.engine / (engine - timed.engine))
                scored.append(
                    sum(run.verifier_tokens for run in runs) / sum(run.usage.completion for run in runs)
                )
        figures.append(
            Figure(
                measure=6,
                what=f"time in {what} over time in generation",
                value=Spread.of(waits),
                target=TARGET,
                note=f"processor time of the engines {Spread.of(works).median:.2f}; "
                f"{Spread.of(scored).median:.2f} tokens scored for each generated one",
            )
        )
    return Found(figures=figures)
