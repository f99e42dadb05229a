"""Measure 2: a step search with a scorer that costs nothing, against the engine kept as busy without mull."""

from __future__ import annotations

import asyncio
from functools import partial

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
SEARCHES = {1: 6, 8: 16}
"""At a time, and in all."""
ANSWER = 54
"""Tokens of an answer, on average."""


async def measure(stage: Stage, rounds: int) -> Found:
    """At two levels of concurrency."""
    figures = []
    for concurrency, count in SEARCHES.items():
        tasks = [task(question, seed) for seed, question in enumerate(questions(count))]
        steps = [request for each in tasks for request in await stage.recording(SEARCH, each, Free())]
        tokens = await _search(stage, tasks, concurrency)
        whole = await _whole(stage, tasks, int(tokens))
        busy = concurrency * SEARCH.width * SEARCH.expand
        ways: dict[str, Way] = {
            "answers": partial(stage.raw_all, whole, busy),
            "mull": partial(_search, stage, tasks, concurrency),
            "steps": partial(stage.raw_all, steps, busy),
        }
        taken = await in_turns(ways, rounds)
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


async def _search(stage: Stage, tasks: list[Task], concurrency: int) -> float:
    waiting = iter(tasks)

    async def worker() -> int:
        return sum([(await stage.solve(SEARCH, each, Free())).usage.completion for each in waiting])

    return sum(await asyncio.gather(*(worker() for _ in range(concurrency))))


async def _whole(stage: Stage, tasks: list[Task], tokens: int) -> list[Asked]:
    """Requests for whole answers to the same questions, of about as many tokens in all."""
    vote = MajorityVote(n=round(tokens / len(tasks) / ANSWER))
    return [request for each in tasks for request in await stage.recording(vote, each)]


def _for_each(seconds: list[float], done: list[float]) -> list[float]:
    return [a / b for a, b in zip(seconds, done, strict=True)]
