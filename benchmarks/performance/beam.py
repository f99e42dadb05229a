"""Measure 2: a step search with a scorer that costs nothing, against the engine kept as busy without mull."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from benchmarks.performance.figures import Figure, Found, Target, ratios
from benchmarks.performance.problems import questions, task
from benchmarks.performance.stage import Asked, Free, Stage
from benchmarks.performance.turns import Way, column, in_turns, rate

from mull.strategies.beam_search import BeamSearch
from mull.strategies.majority_vote import MajorityVote
from mull.types import Task

TARGET = Target(bound=0.9, side="at least")
SEARCH = BeamSearch(width=4, expand=4, aggregate="last")
"""With `last`, nobody can tell early that a search is over: every one goes on until its beams have ended."""
SEARCHES = {1: 2, 8: 8}
"""At a time, and in one part of a round."""
PARTS = 3
ANSWER = 54
"""Tokens of an answer, on average."""


async def measure(stage: Stage, rounds: int) -> Found:
    """At two levels of concurrency."""
    figures = []
    for concurrency, count in SEARCHES.items():
        asked = questions(count * PARTS)
        tasks = [[task(q, seed) for seed, q in enumerate(asked[part::PARTS])] for part in range(PARTS)]
        work = [await _work(stage, part, concurrency) for part in tasks]
        busy = concurrency * SEARCH.width * SEARCH.expand
        ways: dict[str, Way] = {
            "answers": lambda part, work=work, busy=busy: stage.raw_all(work[part].answers, busy),
            "mull": lambda part, tasks=tasks, at=concurrency: search(stage, tasks[part], at),
            "steps": lambda part, work=work, busy=busy: stage.raw_all(work[part].steps, busy),
        }
        taken = await in_turns(ways, rounds, PARTS)
        ours = rate(taken, "mull")
        for name, what, target in (
            ("answers", "whole answers", TARGET),
            ("steps", "the same steps, none waiting for another", None),
        ):
            limit = rate(taken, name)
            own = ratios(
                _for_each(column(taken, "mull", "own"), column(taken, "mull", "done")),
                _for_each(column(taken, name, "own"), column(taken, name, "done")),
            )
            figures.append(
                Figure(
                    measure=2,
                    what=f"4x4, {concurrency} at a time, against {what}, {busy} at a time",
                    value=ratios(ours, limit),
                    ours=ratios(ours, [1] * rounds).median,
                    limit=ratios(limit, [1] * rounds).median,
                    sides="tokens/s",
                    target=target,
                    note=f"processor time of this process, a token: {own.median:.2f}",
                )
            )
    return Found(figures=figures)


async def search(stage: Stage, tasks: list[Task], at_a_time: int) -> float:
    """Solve tasks, so many at a time; the number of tokens."""
    waiting = iter(tasks)

    async def worker() -> int:
        return sum([(await stage.solve(SEARCH, each, Free())).usage.completion for each in waiting])

    return sum(await asyncio.gather(*(worker() for _ in range(at_a_time))))


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the engine is asked without mull."""

    steps: list[Asked]
    """The steps of the searches."""
    answers: list[Asked]
    """Whole answers to the same questions, of about as many tokens in all."""


async def _work(stage: Stage, tasks: list[Task], at_a_time: int) -> Work:
    stage.recorded.asked.clear()
    tokens = await search(stage, tasks, at_a_time)
    steps = list(stage.recorded.asked)
    vote = MajorityVote(n=round(tokens / len(tasks) / ANSWER))
    answers = [request for each in tasks for request in await stage.recording(vote, each)]
    return Work(steps=steps, answers=answers)


def _for_each(seconds: list[float], done: list[float]) -> list[float]:
    return [a / b for a, b in zip(seconds, done, strict=True)]
