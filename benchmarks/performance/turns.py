"""Several ways to do the same, in turns: what else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import psutil

Way = Callable[[int], Awaitable[float]]
"""Does one part of the work and returns how much was done (tokens, requests)."""

Taken = Mapping[str, Sequence[dict[str, float]]]
"""For each way and round: `seconds`, `done`, `own` and `engine` (seconds of processor time)."""


async def in_turns(ways: Mapping[str, Way], rounds: int, parts: int = 1) -> Taken:
    """Each part of the work in each way, again and again, after a round that does not count.

    The order of the ways turns round from one part to the next.
    """
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(-1, rounds):
        sums: dict[str, Counter[str]] = {name: Counter() for name in names}
        for part in range(parts):
            for name in names if (turn + part) % 2 else reversed(names):
                sums[name].update(await timed(ways[name], part))
        if turn >= 0:
            for name in names:
                taken[name].append(dict(sums[name]))
    return taken


async def timed(way: Way, part: int) -> dict[str, float]:
    """What it takes to do one part."""
    before, own, began = engine_time(), time.process_time(), time.perf_counter()
    done = await way(part)
    seconds, own = time.perf_counter() - began, time.process_time() - own
    return {"seconds": seconds, "done": done, "own": own, "engine": engine_time() - before}


def engine_time() -> float:
    """Processor time that this process's children have taken so far, in seconds."""
    return processor_time(psutil.Process()) - sum(psutil.Process().cpu_times()[:2])


def processor_time(process: psutil.Process) -> float:
    """What a process and its children have taken so far, in seconds."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def column(taken: Taken, way: str, name: str) -> list[float]:
    """One figure of a way, round by round."""
    return [figures[name] for figures in taken[way]]


def rate(taken: Taken, way: str) -> list[float]:
    """What a way does in a second, round by round."""
    return [figures["done"] / figures["seconds"] for figures in taken[way]]


def each(taken: Taken, way: str) -> list[float]:
    """Seconds for one unit of what a way does, round by round."""
    return [figures["seconds"] / figures["done"] for figures in taken[way]]
