"""Measure 5: how much of a step search's prompts comes from the engine's prefix cache."""

from __future__ import annotations

import asyncio

from benchmarks.performance.figures import Figure, Found, Spread, Target
from benchmarks.performance.problems import questions, task
from benchmarks.performance.stage import Free, Stage

from mull.run import Run
from mull.strategies.beam_search import BeamSearch
from mull.types import Usage

TARGET = Target(bound=0.95, side="at least")
SEARCH = BeamSearch(width=4, expand=4, aggregate="last")
AT_A_TIME = 8


async def measure(stage: Stage, rounds: int) -> Found:
    """New questions in each round: nothing of them is cached before."""
    found, possible, lengths = list[float](), list[float](), list[float]()
    asked = questions(1000 + AT_A_TIME * rounds)[1000:]
    for turn in range(rounds):
        tasks = [task(question, turn) for question in asked[turn * AT_A_TIME : (turn + 1) * AT_A_TIME]]
        runs = await asyncio.gather(*(stage.solve(SEARCH, each, Free()) for each in tasks))
        usage = sum((run.usage for run in runs), Usage())
        roots = [len((await stage.pool.render(each.chat)).ids or ()) for each in tasks]
        found.append(usage.cached / usage.prompt)
        possible.append(1 - least(runs, roots) / usage.prompt)
        lengths.append(usage.prompt / sum(run.calls for run in runs))
    limit = Spread.of(possible).median
    value = Spread.of(found)
    length = Spread.of(lengths).median
    return Found(
        figures=[
            Figure(
                measure=5,
                what="prompt tokens of 4x4 beam searches that were cached",
                value=value,
                ours=value.median,
                limit=limit,
                target=TARGET,
                note=f"prompts of {length:.0f} tokens on average, cached in blocks of 32. The limit is "
                "what a cache of single tokens could give: each question has to be computed once, and the "
                "last token of each request",
            )
        ]
    )


def least(runs: list[Run], roots: list[int]) -> int:
    """Prompt tokens that no cache can spare."""
    return sum(root + run.calls for run, root in zip(runs, roots, strict=True))
