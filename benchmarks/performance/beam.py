"""Measure 2: a step search with a scorer that costs nothing, against the engine kept as busy without mull."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TypeVar

from benchmarks.performance.figures import Figure, Found, Target, ratios
from benchmarks.performance.problems import questions, task
from benchmarks.performance.stage import Asked, Free, Stage
from benchmarks.performance.turns import Way, column, in_turns
from prometheus_client import REGISTRY

from mull.strategies.beam_search import BeamSearch
from mull.strategies.majority_vote import MajorityVote
from mull.types import Task

T = TypeVar("T")

TARGET = Target(bound=0.9, side="at least")
SEARCH = BeamSearch(width=4, expand=4, aggregate="last")
"""With `last`, nobody can tell early that a search is over: every one goes on until its beams have ended."""
AT_A_TIME = (1, 8)
PROBLEMS = 24
PARTS = 3
"""Of a round."""
WARM, WINDOW = 1.0, 2.0
"""Seconds until the engine is as busy as it will be, and for which its tokens are counted then."""
LOOK = 0.005
"""Seconds from one look at the engine to the next."""


async def measure(stage: Stage, rounds: int) -> Found:
    """At two levels of concurrency."""
    figures = []
    work = await _work(stage, [task(question, seed) for seed, question in enumerate(questions(PROBLEMS))])
    for searches in AT_A_TIME:
        busy = searches * SEARCH.width * SEARCH.expand
        solve = partial(stage.solve, SEARCH, verifier=Free())
        alike = round(await _under_way(stage, partial(_kept_busy, solve, work.tasks, searches, 0)))
        ways: dict[str, Way] = {
            "answers": partial(_kept_busy, stage.raw, work.answers, busy),
            "alike": partial(_kept_busy, stage.raw, work.answers, alike),
            "mull": partial(_kept_busy, solve, work.tasks, searches),
            "steps": partial(_kept_busy, stage.raw, work.steps, busy),
        }
        taken = await in_turns(ways, rounds, PARTS)
        ours = column(taken, "mull", "done")
        for name, what, count, target in (
            ("answers", "whole answers", busy, TARGET),
            ("alike", "whole answers, as many as it has under way", alike, None),
            ("steps", "the same steps, none waiting for another", busy, None),
        ):
            limit = column(taken, name, "done")
            own = ratios(_for_each_token(taken["mull"]), _for_each_token(taken[name]))
            figures.append(
                Figure(
                    measure=2,
                    what=f"4x4, {searches} at a time, against {what}, {count} at a time",
                    value=ratios(ours, limit),
                    ours=statistics.median(ours) / PARTS,
                    limit=statistics.median(limit) / PARTS,
                    sides="tokens/s",
                    target=target,
                    note=f"processor time of this process, a token: {own.median:.2f}",
                )
            )
    return Found(figures=figures)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Searches, and what the engine is asked without mull."""

    tasks: Sequence[Task]
    steps: Sequence[Asked]
    """The steps of the searches."""
    answers: Sequence[Asked]
    """Whole answers to the same questions."""


async def _work(stage: Stage, tasks: Sequence[Task]) -> Work:
    steps = [request for each in tasks for request in await stage.recording(SEARCH, each, Free())]
    vote = MajorityVote(n=SEARCH.width * SEARCH.expand)
    answers = [request for each in tasks for request in await stage.recording(vote, each)]
    return Work(tasks=tasks, steps=steps, answers=answers)


async def _kept_busy(
    do: Callable[[T], Awaitable[object]], work: Sequence[T], at_a_time: int, part: int
) -> float:
    """Tokens that the engine generates in a second while so much is done at a time, again and again."""
    waiting = cycle(work)

    async def worker() -> None:
        for each in waiting:
            await do(each)

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(worker()) for _ in range(at_a_time)]
        await asyncio.sleep(WARM)
        began, before = asyncio.get_running_loop().time(), generated()
        await asyncio.sleep(WINDOW)
        rate = (generated() - before) / (asyncio.get_running_loop().time() - began)
        for each in workers:
            each.cancel()
    return rate


async def _under_way(stage: Stage, do: Callable[[], Awaitable[float]]) -> float:
    """How many requests the engine has on average while it has any."""
    counts = list[int]()

    async def look() -> None:
        while True:
            counts.append(stage.recorded.running)
            await asyncio.sleep(LOOK)

    looking = asyncio.create_task(look())
    await do()
    looking.cancel()
    return statistics.mean(count for count in counts if count)


def generated() -> float:
    """Tokens that the engine says it has generated."""
    found = REGISTRY.get_sample_value(
        "vllm:generation_tokens_total", {"engine": "0", "model_name": "mull-tiny"}
    )
    assert found is not None
    return found


def _for_each_token(taken: Sequence[dict[str, float]]) -> list[float]:
    return [figures["own"] / figures["done"] for figures in taken]
