"""Measure 7: one plain answer through mull, over the same by vLLM's own server."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
from benchmarks.performance.figures import Figure, Found, Target, ratios
from benchmarks.performance.problems import MODELS, questions
from benchmarks.performance.servers import serving, vllm_serving
from benchmarks.performance.turns import Way, in_turns, rate

TOKENS = 48
"""Of each answer: all are equally long."""
ALONE, TOGETHER, REQUESTS = 40, 64, 256
"""Requests one after the other; at a time; and so many then."""
LATENCY, THROUGHPUT = Target(bound=1.05, side="at most"), Target(bound=0.95, side="at least")
DIRECT = "vLLM's server"


async def measure(rounds: int) -> Found:
    """Mull with an engine of its own, and mull in front of the server that it is compared with."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        vllm = await stack.enter_async_context(vllm_serving())
        urls = {DIRECT: vllm.url}
        for what, model in (
            ("`mull serve`", {"path": str(MODELS / "policy")}),
            ("`mull serve` in front of vLLM's server", {"url": vllm.url}),
        ):
            server = await stack.enter_async_context(serving(MULL_MODELS=json.dumps({"mull-tiny": model})))
            urls[what] = server.url
        medians: dict[str, list[float]] = {name: [] for name in urls}
        alone: dict[str, Way] = {
            name: partial(one_by_one, session, url, medians[name]) for name, url in urls.items()
        }
        together: dict[str, Way] = {name: partial(crowd, session, url) for name, url in urls.items()}
        await in_turns(alone, rounds)
        taken = await in_turns(together, rounds)
    figures = []
    for name in urls:
        if name == DIRECT:
            continue
        ours, limit = medians[name][1:], medians[DIRECT][1:]  # the first round does not count
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
            )
        )
    return Found(figures=figures)


async def one_by_one(session: aiohttp.ClientSession, url: str, medians: list[float]) -> float:
    """Requests one after the other; their median latency is added to those of the other rounds."""
    latencies = []
    for number in range(ALONE):
        began = time.perf_counter()
        await ask(session, url, number)
        latencies.append(time.perf_counter() - began)
    medians.append(statistics.median(latencies))
    return ALONE


async def crowd(session: aiohttp.ClientSession, url: str) -> float:
    """Requests, so many at a time."""
    waiting = iter(range(REQUESTS))

    async def worker() -> None:
        for number in waiting:
            await ask(session, url, number)

    await asyncio.gather(*(worker() for _ in range(TOGETHER)))
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
