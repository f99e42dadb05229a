"""What a step costs, what a server adds, and what searches look like, by two real engines at work."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from benchmarks.performance.problems import questions
from benchmarks.scaling import work
from benchmarks.scaling.cache import BLOCK
from benchmarks.scaling.costs import Step, fit
from benchmarks.scaling.pair import STRATEGIES, Pair, paired, tree
from benchmarks.scaling.watched import periods

from mull.engines.supervised import Supervised

AT_A_TIME = (1, 2, 4, 8, 16, 32, 64, 100)
"""Sequences that an engine is kept busy with."""
SECONDS, ROUNDS = 1.5, 3
"""For which it is, each time."""
ALONE = 12
"""Answers one after the other."""
RECORDED, CLIENTS = 120, 8
"""Requests of each kind that are recorded, so many at a time."""

_numbers = itertools.count()


async def measure() -> dict[str, Any]:
    """A few minutes."""
    async with paired() as pair:
        asked = iter(questions(len(STRATEGIES) * RECORDED + ALONE))
        kinds, request = await _record(pair, asked)
        work.write(kinds)
        steps = [step for _ in range(ROUNDS) for step in await _steps(pair)]
        found = fit(steps)
        # The quickest one: what else the machine does has nothing to do with it.
        way = min(await _ways(pair, asked))
        limits = asdict(pair.limits)
    return {
        "costs": {"step": asdict(found.cost), "request": request, "way": max(0.0, way - request)},
        "fit": {"error": found.error, "total": found.total, "steps": found.steps, "kinds": found.kinds},
        "stretch": sum(step.wall for step in steps) / sum(step.seconds for step in steps),
        "limits": limits,
        "recorded": {kind: _shape(trees) for kind, trees in kinds.items()},
    }


async def _record(pair: Pair, asked: Iterator[str]) -> tuple[dict[str, list[work.Tree]], float]:
    """Trees of each kind, and seconds of this process for each request to an engine."""
    kinds = {kind: list[work.Tree]() for kind in STRATEGIES}
    calls, before = 0, time.process_time()
    for kind, trees in kinds.items():
        left = iter([next(asked) for _ in range(RECORDED)])

        async def client(kind: str, trees: list[work.Tree], left: Iterator[str]) -> int:
            runs = [await pair.solve("affine", kind, question, 0) for question in left]
            trees += map(tree, runs)
            return sum(run.calls for run in runs)

        calls += sum(await asyncio.gather(*(client(kind, trees, left) for _ in range(CLIENTS))))
    return kinds, (time.process_time() - before) / calls


async def _steps(pair: Pair) -> list[Step]:
    """Of both engines, while each has so many sequences to work on."""
    found = list[Step]()
    for count in AT_A_TIME:
        began = time.monotonic()
        await asyncio.gather(*(_busy(engine, count, began + SECONDS) for engine in pair.engines))
        found += [step for steps in pair.steps.between(began, began + SECONDS) for step in periods(steps)]
    return found


async def _busy(engine: Supervised, count: int, until: float) -> None:
    """Prompts that have nothing in common, of all lengths for which there is room."""
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    draw = random.Random(count)
    longest = min(512, 400 * BLOCK // count - 2 * BLOCK)

    async def client() -> None:
        while time.monotonic() < until:
            ids = [draw.randrange(10, 700) for _ in range(draw.randint(8, longest))]
            params = SamplingParams(
                max_tokens=draw.randint(4, 40), ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY
            )
            async for _ in engine.generate(tokens_input(ids), params, f"busy-{next(_numbers)}"):
                pass

    await asyncio.gather(*(client() for _ in range(count)))


async def _ways(pair: Pair, asked: Iterator[str]) -> list[float]:
    """Seconds of a request that is alone in which no engine works on it."""
    found = list[float]()
    for _ in range(ALONE):
        began = time.monotonic()
        run = await pair.solve("affine", "single", next(asked), 0)
        [node] = run.trace.nodes[1:]
        steps = [step for each in pair.steps.between(began, time.monotonic()) for step in each]
        found.append(node.ended - node.started - (steps[-1].end - steps[0].begin))
    return found


def _shape(trees: list[work.Tree]) -> dict[str, float]:
    steps = [tokens for each in trees for _, tokens, _ in each.steps]
    return {
        "problems": len(trees),
        "levels": statistics.fmean(len(each.levels) for each in trees),
        "requests": len(steps) / len(trees),
        "tokens": statistics.fmean(steps),
        "prompt": statistics.fmean(each.prompt for each in trees),
    }
