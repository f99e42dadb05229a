"""Measure 3: mull beside its-hub 1.2.0, on the same problems, model and reward model.

`neighbours/install` has to be run before.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from benchmarks.performance.contest import (
    AT_A_TIME,
    BIN,
    ROOT,
    TOGETHER,
    Pair,
    Solve,
    Work,
    by_http,
    configured,
    goodput,
    in_turns,
    right,
)
from benchmarks.performance.figures import Figure, Found, Target, ratios
from benchmarks.performance.problems import MODELS, MULL, lines
from benchmarks.performance.servers import free_port, serving, started, vllm_serving

DRIVER = ROOT / "benchmarks" / "performance" / "neighbours" / "its_hub_beam.py"
ALONE = 8
"""Problems one after the other."""
TWICE = Target(bound=2.0, side="at least")
BEAM = {"strategy": "beam_search", "width": 4, "expand": 4, "verifier": "prm"}
AHEAD = {**BEAM, "speculate": True}
NEIGHBOUR = "its-hub's"


async def beam(rounds: int) -> Found:
    """Measure 3: beam search 4x4 with the bundled process reward model."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        session = await enter(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        vllm = await enter(vllm_serving())
        port = free_port()
        command = (*MULL, "verifier", "--model", str(MODELS / "prm"), "--kind", "prm", "--port", str(port))
        worker = await enter(started(command, port, "/health", {}))
        remote = {"kind": "remote", "urls": [worker.url], "judges": "process"}
        shared = await enter(serving(**configured({"url": vllm.url}, remote)))
        own = {"path": str(MODELS / "policy")}
        alone = await enter(serving(**configured(own, {"kind": "prm", "model": str(MODELS / "prm")})))
        mull = {"mull, engines of its own": alone.url, "mull on the neighbour's servers": shared.url}
        ways = {NEIGHBOUR: await enter(driver(vllm.url, worker.url))}
        ways |= {name: by_http(session, url, {"ttc": BEAM}) for name, url in mull.items()}
        worked = await in_turns(ways, rounds, TOGETHER, AT_A_TIME)
        # One at a time, an engine has room for what may turn out to be in vain.
        ways |= {name: by_http(session, url, {"ttc": AHEAD}) for name, url in mull.items()}
        pairs = [Pair(ours=name, theirs=NEIGHBOUR, target=TWICE) for name in ways if name != NEIGHBOUR]
        return Found(figures=[*goodput(3, worked, pairs), *await latency(3, ways, rounds)])


async def latency(measure: int, ways: Mapping[str, Solve], rounds: int) -> list[Figure]:
    """Median seconds of one problem, one at a time."""
    worked = await in_turns(ways, rounds, ALONE, 1)
    median = {name: [statistics.median(work.latencies) for work in of] for name, of in worked.items()}
    return [
        Figure(
            measure=measure,
            what=f"{name}: its-hub's median latency over mull's, one at a time",
            value=ratios(median[NEIGHBOUR], median[name]),
            ours=statistics.median(median[name]),
            limit=statistics.median(median[NEIGHBOUR]),
            sides="s",
            target=TWICE,
            note=f"{ALONE} problems a round",
        )
        for name in ways
        if name != NEIGHBOUR
    ]


@asynccontextmanager
async def driver(model: str, prm: str) -> AsyncIterator[Solve]:
    """By its-hub's beam search, which its own server does not offer."""
    process = await asyncio.create_subprocess_exec(
        str(BIN / "python"), str(DRIVER), "--model-url", model, "--prm-url", prm,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    told, heard = process.stdin, process.stdout

    async def solve(problems: int, at_a_time: int) -> Work:
        asked = [json.loads(line) for line in lines(problems)]
        questions = [problem["question"] for problem in asked]
        told.write(json.dumps({"questions": questions, "at_a_time": at_a_time}).encode() + b"\n")
        answer = json.loads(await heard.readline() or "{}")
        if not answer:
            raise RuntimeError("its-hub has ended")
        return Work(
            seconds=answer["seconds"], latencies=answer["latencies"], right=right(answer["texts"], asked)
        )

    try:
        yield solve
    finally:
        told.close()
        await process.wait()
