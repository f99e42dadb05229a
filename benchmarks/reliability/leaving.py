"""Clients that leave in the middle of their searches: nothing goes on for them."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable

import aiohttp
from benchmarks.reliability.figures import hold, require, table
from benchmarks.reliability.servers import Server, at_work, serving
from benchmarks.reliability.traffic import ask, body, questions
from benchmarks.reliability.wire import leave, send

SEARCHES = (
    {"strategy": "single"},
    {"strategy": "majority_vote", "n": 8},
    {"strategy": "best_of_n", "n": 8},
    {"strategy": "beam_search", "width": 4, "expand": 4},
)
WITHIN = 1.0
"""Seconds in which nothing may be at work any more."""
PATIENCE = 30.0
Condition = Callable[[dict[str, float]], bool]
MID_SEARCH = 100
"""Engine requests from which on clients are said to leave in mid-search."""


def options(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--scripted", action="store_true", help="a scripted model instead of vLLM")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--running", type=int, default=256, help="admission.running; very large: none waits")


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    questions()
    variables = {"MULL_ADMISSION__RUNNING": str(options.running)}
    async with (
        serving(scripted=options.scripted, variables=variables) as server,
        aiohttp.ClientSession() as session,
    ):
        rng, rows, slowest = random.Random(0), [], 0.0
        await asyncio.gather(*(ask(session, server, body(rng)) for _ in range(20)))
        for _ in range(options.rounds):
            files = hold(server.process)[1]
            connections = await asyncio.gather(*(send(server, _long(rng)) for _ in range(options.clients)))
            await _until(session, server, _there(options.clients))
            await _until(session, server, lambda at: at["engine"] >= MID_SEARCH)
            before = await at_work(session, server)
            began, worked = time.monotonic(), _worked(server)
            for connection in connections:
                leave(connection)
            left = await _until(session, server, lambda at: not any(at.values()))
            seconds, worked = time.monotonic() - began, _worked(server) - worked
            slowest = max(slowest, seconds)
            await asyncio.sleep(1)
            rows.append(
                (
                    *map(int, before.values()),
                    f"{seconds:.2f}",
                    f"{worked:.2f}",
                    *map(int, left.values()),
                    files,
                    hold(server.process)[1],
                )
            )
        title = ("running", "waiting", "in the engine", "seconds until all is 0", "of the server's processor")
        title += ("running", "waiting", "in the engine", "descriptors before", "after")
        table(title, rows)
        await asyncio.gather(*(ask(session, server, body(rng)) for _ in range(20)))
    require(slowest <= WITHIN, f"nothing is at work {WITHIN} s after {options.clients} clients left")


def _long(rng: random.Random) -> dict[str, object]:
    """A search that takes far longer than its client stays."""
    return body(rng, ttc=rng.choice(SEARCHES)) | {"max_tokens": 400, "ignore_eos": True}


def _worked(server: Server) -> float:
    """Seconds of processor time that a server has used itself."""
    times = server.process.cpu_times()
    return times.user + times.system


def _there(clients: int) -> Condition:
    return lambda at: at["running"] + at["waiting"] >= clients


async def _until(session: aiohttp.ClientSession, server: Server, condition: Condition) -> dict[str, float]:
    """What is at work once the condition holds, or patience ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        now = await at_work(session, server)
        if condition(now) or time.monotonic() > deadline:
            return now
        await asyncio.sleep(0.02)
