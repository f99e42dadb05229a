"""Measure 10: what mull itself holds, over a scripted model."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import aiohttp
import psutil
from benchmarks.performance.figures import Figure, Found, Spread, Target
from benchmarks.performance.servers import free_port, started

TARGET = Target(bound=150, side="at most")
AT_A_TIME, REQUESTS = 256, 1024
SEARCH = {"strategy": "beam_search", "width": 4, "expand": 4}
MEGABYTE = 2**20


async def measure(rounds: int) -> Found:
    """A new server in each round."""
    peaks, grown = list[float](), list[float]()
    for _ in range(rounds):
        idle, peak = await once()
        peaks.append(peak)
        grown.append(peak - idle)
    what = f"{AT_A_TIME} searches (4x4) at a time: "
    return Found(
        figures=[
            Figure(
                measure=10,
                what=what + "all that is no engine, at most",
                value=Spread.of(peaks),
                unit="MB",
                target=TARGET,
                note="memory of the server's own processes that they share with nobody (USS)",
            ),
            Figure(measure=10, what=what + "more than when idle", value=Spread.of(grown), unit="MB"),
        ]
    )


async def once() -> tuple[float, float]:
    """Megabytes before the first request, and at most."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.reliability.scripted", "--port", str(port))
    async with started(command, port, "/ready", {"MULL_ADMISSION__RUNNING": "1000000"}) as server:
        idle = peak = held(server.process)
        work = asyncio.create_task(crowd(server.url))
        while not work.done():
            peak = max(peak, await asyncio.to_thread(held, server.process))
            await asyncio.wait([work], timeout=0.1)
        await work
        return idle, peak


async def crowd(url: str) -> None:
    """Searches, so many at a time.

    Raises:
        aiohttp.ClientResponseError: one was refused.
    """
    waiting = iter(range(REQUESTS))

    async def worker(session: aiohttp.ClientSession) -> None:
        for number in waiting:
            messages = [{"role": "user", "content": f"What is {number}?"}]
            body = {"model": "mull-tiny", "messages": messages, "ttc": SEARCH, "seed": number}
            async with session.post(url + "/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(AT_A_TIME)))


def held(process: psutil.Process) -> float:
    """Megabytes of a process and those that it started."""
    total = 0
    with suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += each.memory_full_info().uss
    return total / MEGABYTE
