"""Several ways to do the same, in turns: what else the machine does meets all of them alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import psutil

Way = Callable[[], Awaitable[float]]
"""Does it once and returns how much was done (tokens, requests)."""

Taken = Mapping[str, Sequence[Mapping[str, float]]]
"""For each way and round: `seconds`, `done`, `own` and `engine` (seconds of processor time)."""


async def in_turns(ways: Mapping[str, Way], rounds: int) -> Taken:
    """Each way once a round, in an order that turns round each time, after a round that does not count."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(-1, rounds):
        for name in names if turn % 2 else reversed(names):
            figures = await timed(ways[name])
            if turn >= 0:
                taken[name].append(figures)
        await asyncio.sleep(0)
    return taken


async def timed(way: Way) -> dict[str, float]:
    """What it takes to do something once."""
    before, own, began = engine_time(), time.process_time(), time.perf_counter()
    done = await way()
    seconds, own = time.perf_counter() - began, time.process_time() - own
    return {"seconds": seconds, "done": done, "own": own, "engine": engine_time() - before}


def engine_time() -> float:
    """Processor time that this process's children have taken so far, in seconds."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
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
