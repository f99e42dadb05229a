"""The model against reality: the same searches by two real engines and by two simulated ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.performance.figures import quantile
from benchmarks.performance.problems import questions
from benchmarks.scaling import results, work
from benchmarks.scaling.cluster import Cluster
from benchmarks.scaling.figures import Figures, figures
from benchmarks.scaling.pair import Pair, paired, tree
from benchmarks.scaling.routes import ROUTES
from benchmarks.scaling.watched import periods

from mull.run import Run
from mull.types import Usage

CLIENTS = 8
PROBLEMS = 48
"""In each round, by each way: new ones, of which nothing is cached."""
FIRST = 500
"""Question: others were recorded."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What happened by one way, and what the model says of the same."""

    real: Figures
    simulated: Figures
    stretch: float
    """Seconds by the clock for each of processor time in the engines' steps: how busy the machine was."""


async def check(rounds: int) -> dict[str, Any]:
    """Each way in turn, the order turning from round to round."""
    known = results.read()
    found: dict[str, list[Round]] = {name: [] for name in ROUTES}
    asked = questions(FIRST + PROBLEMS * (rounds + 1))[FIRST:]
    async with paired() as pair:
        await _real(pair, "affine", asked[-PROBLEMS:])
        for turn in range(rounds):
            # All ways have the same questions, and find nothing of them in the cache.
            part = asked[turn * PROBLEMS : (turn + 1) * PROBLEMS]
            for name in ROUTES if turn % 2 else reversed(list(ROUTES)):
                await _forget(pair)
                began = time.monotonic()
                real, trees = await _real(pair, name, part)
                stretch = _stretch(pair, began)
                made = simulated(known, name, trees, stretch)
                found[name].append(Round(real=real, simulated=made, stretch=stretch))
                print(turn, name, found[name][-1], flush=True)
    return {
        "rounds": rounds,
        "clients": CLIENTS,
        "problems": PROBLEMS,
        "ways": {name: [asdict(each) for each in taken] for name, taken in found.items()},
    }


def simulated(known: dict[str, Any], route: str, trees: Sequence[work.Tree], stretch: float) -> Figures:
    """What the model says of two replicas that are asked for these, on a machine as busy as it was."""
    costs, limits = results.costs(known).stretched(stretch), results.limits(known)
    cluster = Cluster(costs, replicas=2, route=ROUTES[route](), limits=limits, served=2)
    cluster.clients(work.given(trees), CLIENTS)
    cluster.run()
    return figures(cluster)


def _stretch(pair: Pair, since: float) -> float:
    steps = [step for each in pair.steps.between(since, time.monotonic()) for step in periods(each)]
    return sum(step.wall for step in steps) / sum(step.seconds for step in steps)


async def _forget(pair: Pair) -> None:
    for engine in pair.engines:
        assert await engine.reset_prefix_cache()


async def _real(pair: Pair, route: str, asked: Sequence[str]) -> tuple[Figures, list[work.Tree]]:
    """Figures, and what was generated, in the order in which it was asked for."""
    left, taken = iter(enumerate(asked)), dict[int, tuple[float, Run]]()

    async def client() -> None:
        for number, question in left:
            began = time.monotonic()
            run = await pair.solve(route, "search", question, 0)
            taken[number] = time.monotonic() - began, run

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    seconds = time.monotonic() - began
    runs = [taken[number][1] for number in range(len(asked))]
    usage, latencies = sum((run.usage for run in runs), Usage()), [s for s, _ in taken.values()]
    real = Figures(
        jobs=len(runs),
        goodput=len(runs) / seconds / len(pair.engines),
        hit_rate=usage.cached / usage.prompt,
        computed=(usage.prompt - usage.cached) / usage.completion,
        p50=quantile(latencies, 0.5),
        p95=quantile(latencies, 0.95),
    )
    return real, [tree(run) for run in runs]
