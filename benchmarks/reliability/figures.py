"""Figures: quantiles, slopes, tables, and what a process holds."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import psutil
from benchmarks.performance.figures import quantile

MEGABYTE = 2**20


class Broken(Exception):
    """A promise that was not kept."""


def require(kept: bool, promise: str) -> None:
    """Fail where a promise is not kept.

    Raises:
        Broken: it is not.
    """
    if not kept:
        raise Broken(promise)


def quantiles(values: Sequence[float]) -> dict[str, str]:
    """The median and the slow end, in seconds."""
    if not values:
        return dict.fromkeys(("p50", "p90", "p99", "most"), "")
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    found = {name: quantile(values, share) for name, share in at.items()}
    return {name: f"{value:.2f}" for name, value in (found | {"most": max(values)}).items()}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How fast a figure grows, by least squares: units a second."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope if len(points) > 1 else 0.0


def table(title: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("\n| " + " | ".join(title) + " |")
    print("|" + "---|" * len(title))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)


@dataclass
class Held:
    """What processes held, look by look."""

    seconds: list[float] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    """Megabytes that belong to each process alone (USS)."""
    files: dict[str, list[float]] = field(default_factory=dict)
    """File descriptors of each."""

    def points(
        self, figure: dict[str, list[float]], name: str, skip: float = 0.0
    ) -> list[tuple[float, float]]:
        """Seconds and values, without the first part of them."""
        found = list(zip(self.seconds, figure[name], strict=True))
        return [point for point in found if point[0] >= skip * self.seconds[-1]]


def hold(process: psutil.Process) -> tuple[float, int]:
    """Megabytes and file descriptors of one process; nothing where it is gone."""
    with suppress(psutil.Error):
        return process.memory_full_info().uss / MEGABYTE, process.num_fds()
    return 0.0, 0


@asynccontextmanager
async def watching(
    processes: Callable[[], dict[str, psutil.Process]], period: float = 1.0
) -> AsyncIterator[Held]:
    """Look at processes again and again meanwhile."""
    held, began = Held(), time.monotonic()

    def look() -> None:
        held.seconds.append(time.monotonic() - began)
        for name, process in processes().items():
            memory, files = hold(process)
            held.memory.setdefault(name, []).append(memory)
            held.files.setdefault(name, []).append(files)

    async def again() -> None:
        while True:
            await asyncio.to_thread(look)
            await asyncio.sleep(period)

    task = asyncio.create_task(again())
    try:
        yield held
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        look()
