"""Measure 7: one plain answer through mull, over the same by vLLM's own server."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
from benchmarks.performance.figures import Figure, Found, Target, ratios
from benchmarks.performance.problems import MODELS, questions
from benchmarks.performance.servers import Server, serving, vllm_serving
from benchmarks.performance.turns import Way, in_turns, processor_time, rate

TOKENS = 32
"""Of each answer: all are equally long."""
ALONE, TOGETHER, REQUESTS = 20, 64, 128
"""Requests one after the other; at a time; and so many then, in each part of a round."""
PARTS = 2
LATENCY, THROUGHPUT = Target(bound=1.05, side="at most"), Target(bound=0.95, side="at least")
DIRECT, GATEWAY = "vLLM's server", "`mull serve` in front of vLLM's server"


async def measure(rounds: int) -> Found:
    """Mull with an engine of its own, and mull in front of the server that it is compared with."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        vllm = await stack.enter_async_context(vllm_serving())
        servers = {DIRECT: [vllm]}
        for what, model in (
            ("`mull serve`", {"path": str(MODELS / "policy")}),
            (GATEWAY, {"url": vllm.url}),
        ):
            server = await stack.enter_async_context(serving(MULL_MODELS=json.dumps({"mull-tiny": model})))
            servers[what] = [server, vllm] if what == GATEWAY else [server]
        medians: dict[str, list[float]] = {name: [] for name in servers}
        works: dict[str, list[float]] = {name: [] for name in servers}
        alone: dict[str, Way] = {
            name: partial(one_by_one, session, of[0].url, medians[name]) for name, of in servers.items()
        }
        together: dict[str, Way] = {
            name: partial(crowd, session, of, works[name]) for name, of in servers.items()
        }
        await in_turns(alone, rounds, PARTS)
        taken = await in_turns(together, rounds, PARTS)
    figures = []
    for name in servers:
        if name == DIRECT:
            continue
        ours, limit = by_round(medians[name], rounds), by_round(medians[DIRECT], rounds)
        figures.append(
            Figure(
                measure=7,
                what=f"{name}: median latency, one at a time",
                value=ratios(ours, limit),
                ours=1e3 * statistics.median(ours),
                limit=1e3 * statistics.median(limit),
                sides="ms",
                target=LATENCY,
            )
        )
        ours, limit = rate(taken, name), rate(taken, DIRECT)
        figures.append(
            Figure(
                measure=7,
                what=f"{name}: throughput, {TOGETHER} at a time",
                value=ratios(ours, limit),
                ours=statistics.median(ours),
                limit=statistics.median(limit),
                sides="requests/s",
                target=THROUGHPUT,
                note="processor time of all its processes, over that of vLLM's server: "
                f"{ratios(by_round(works[name], rounds), by_round(works[DIRECT], rounds)).median:.2f}",
            )
        )
    return Found(figures=figures)


async def one_by_one(session: aiohttp.ClientSession, url: str, latencies: list[float], part: int) -> float:
    """Requests one after the other; how long they took is added to `latencies`."""
    for number in range(ALONE):
        began = time.perf_counter()
        await ask(session, url, ALONE * part + number)
        latencies.append(time.perf_counter() - began)
    return ALONE


def by_round(values: Sequence[float], rounds: int) -> list[float]:
    """The median of each round; the first one does not count."""
    each = len(values) // (rounds + 1)
    return [statistics.median(values[each * turn : each * (turn + 1)]) for turn in range(1, rounds + 1)]


async def crowd(
    session: aiohttp.ClientSession, servers: Sequence[Server], works: list[float], part: int
) -> float:
    """Requests to the first of the servers, so many at a time; what all of them work is added to `works`."""
    waiting, before = iter(range(REQUESTS)), sum(processor_time(server.process) for server in servers)

    async def worker() -> None:
        for number in waiting:
            await ask(session, servers[0].url, number)

    await asyncio.gather(*(worker() for _ in range(TOGETHER)))
    works.append(sum(processor_time(server.process) for server in servers) - before)
    return REQUESTS


async def ask(session: aiohttp.ClientSession, url: str, number: int) -> None:
    """One request.

    Raises:
        RuntimeError: its answer is not as long as it should be.
    """
    asked = questions(64)
    body = {
        "model": "mull-tiny",
        "messages": [{"role": "user", "content": asked[number % len(asked)]}],
        "max_tokens": TOKENS,
        "seed": number,
        "ignore_eos": True,
    }
    async with session.post(url + "/v1/chat/completions", json=body) as response:
        answer = await response.json()
    if answer.get("usage", {}).get("completion_tokens") != TOKENS:
        raise RuntimeError(f"it answered {str(answer)[:500]}")
