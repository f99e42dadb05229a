"""Measure 1: whole answers, mull's wall time over that of the engine asked for the same without mull."""

from __future__ import annotations

import asyncio
import statistics
from functools import partial

from benchmarks.performance.figures import Figure, Found, Target, ratios
from benchmarks.performance.problems import questions, task
from benchmarks.performance.stage import Asked, Free, Stage
from benchmarks.performance.turns import Way, column, each, in_turns

from mull.protocols import Strategy, Verifier
from mull.strategies.best_of_n import BestOfN
from mull.strategies.majority_vote import MajorityVote
from mull.types import Task

TARGET = Target(bound=1.05, side="at most")
PROBLEMS = {16: 8, 64: 3}
"""Solved one after the other in each round, each by all ways in turn."""


async def measure(stage: Stage, rounds: int) -> Found:
    """For both strategies and both numbers of samples."""
    figures = []
    for n, count in PROBLEMS.items():
        tasks = [task(question, seed) for seed, question in enumerate(questions(count))]
        free = Free("outcome")
        asked = [await stage.recording(MajorityVote(n=n), each) for each in tasks]
        ways: dict[str, Way] = {
            "raw": partial(_raw, stage, asked),
            "best_of_n": partial(_ours, stage, BestOfN(n=n), tasks, free),
            "majority_vote": partial(_ours, stage, MajorityVote(n=n), tasks, None),
            "raw, n": partial(_one_request, stage, asked),
        }
        taken = await in_turns(ways, rounds, count)
        for name in ("best_of_n", "majority_vote", "raw, n"):
            ours, limit = each(taken, name), each(taken, "raw")
            own = ratios(column(taken, name, "own"), column(taken, "raw", "own"))
            engine = ratios(column(taken, name, "engine"), column(taken, "raw", "engine"))
            what = f"`{name}`, n={n}" if name != "raw, n" else f"vLLM alone, one request with n={n}"
            figures.append(
                Figure(
                    measure=1,
                    what=what,
                    value=ratios(ours, limit),
                    ours=1e3 * statistics.median(ours),
                    limit=1e3 * statistics.median(limit),
                    sides="ms a token",
                    target=None if name == "raw, n" else TARGET,
                    note=f"processor time: this process {own.median:.2f}, engine {engine.median:.2f}",
                )
            )
    return Found(figures=figures)


async def _ours(
    stage: Stage, strategy: Strategy, tasks: list[Task], verifier: Verifier | None, part: int
) -> float:
    return (await stage.solve(strategy, tasks[part], verifier)).usage.completion


async def _raw(stage: Stage, asked: list[list[Asked]], part: int) -> float:
    return sum(await asyncio.gather(*map(stage.raw, asked[part])))


async def _one_request(stage: Stage, asked: list[list[Asked]], part: int) -> float:
    return await stage.raw(asked[part][0], n=len(asked[part]))
