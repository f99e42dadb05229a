"""Measures 3 and 4: mull beside its-hub 1.2.0, on the same problems, model and reward model.

`neighbours/install` has to be run before.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from benchmarks.performance.figures import Figure, Found, Target, ratios
from benchmarks.performance.problems import MODELS, MULL, lines
from benchmarks.performance.servers import free_port, serving, started, vllm_serving

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv-neighbours" / "bin"
DRIVER = ROOT / "benchmarks" / "performance" / "neighbours" / "its_hub_beam.py"
ALONE, TOGETHER, AT_A_TIME = 8, 64, 8
"""Problems one after the other; problems in all, and at a time."""
TWICE, NO_LESS = Target(bound=2.0, side="at least"), Target(bound=1.0, side="at least")
BEAM = {"strategy": "beam_search", "width": 4, "expand": 4, "verifier": "prm"}
VOTE = {"strategy": "majority_vote", "n": 16}
STOPPING = {"strategy": "adaptive_consistency", "n": 16}
NEIGHBOUR = "its-hub"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What came of some problems."""

    seconds: float
    latencies: Sequence[float]
    right: int

    @property
    def goodput(self) -> float:
        """Right answers in a second."""
        return self.right / self.seconds


Solve = Callable[[int, int], Awaitable[Work]]
"""Solves so many problems, so many at a time."""


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
        ways = {
            NEIGHBOUR: await enter(driver(vllm.url, worker.url)),
            "mull, engines of its own": by_http(session, alone.url, {"ttc": BEAM}),
            "mull on the neighbour's servers": by_http(session, shared.url, {"ttc": BEAM}),
        }
        return Found(figures=[*await goodput(3, ways, rounds, TWICE), *await latency(3, ways, rounds)])


async def vote(rounds: int) -> Found:
    """Measure 4: self-consistency of 16 on the same vLLM server."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        session = await enter(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        vllm = await enter(vllm_serving())
        mull = await enter(serving(**configured({"url": vllm.url}, None)))
        port = free_port()
        command = (str(BIN / "its-iaas"), "--host", "127.0.0.1", "--port", str(port))
        its = await enter(started(command, port, "/v1/models", {}))
        asked = {
            "endpoint": f"{vllm.url}/v1",
            "api_key": "none",
            "model": "mull-tiny",
            "alg": "self-consistency",
        }
        patterns = {"regex_patterns": [r"\\boxed\{([^}]+)\}"], "budget": VOTE["n"]}
        async with session.post(its.url + "/configure", json=asked | patterns) as response:
            response.raise_for_status()
        ways = {
            NEIGHBOUR: by_http(session, its.url, {}),
            "mull, `majority_vote`": by_http(session, mull.url, {"ttc": VOTE}),
            "mull, `adaptive_consistency`": by_http(session, mull.url, {"ttc": STOPPING}),
        }
        return Found(figures=await goodput(4, ways, rounds, NO_LESS, adaptive=TWICE))


def configured(model: Mapping[str, Any], prm: Mapping[str, Any] | None) -> dict[str, str]:
    """Variables of mull's environment."""
    settings = {"MULL_MODELS": json.dumps({"mull-tiny": model})}
    return settings | ({"MULL_VERIFIERS": json.dumps({"prm": prm})} if prm else {})


async def goodput(
    measure: int, ways: Mapping[str, Solve], rounds: int, target: Target, adaptive: Target | None = None
) -> list[Figure]:
    """Right answers in a second, several problems at a time."""
    worked = await in_turns(ways, rounds, TOGETHER, AT_A_TIME)
    limit = [work.goodput for work in worked[NEIGHBOUR]]
    shares = {name: sum(w.right for w in of) / (TOGETHER * rounds) for name, of in worked.items()}
    return [
        Figure(
            measure=measure,
            what=f"{name}: goodput over its-hub's, {AT_A_TIME} at a time",
            value=ratios(ours := [work.goodput for work in worked[name]], limit),
            ours=statistics.median(ours),
            limit=statistics.median(limit),
            sides="right answers/s",
            target=adaptive if adaptive and "adaptive" in name else target,
            note=f"{TOGETHER} problems a round; right answers {100 * shares[name]:.0f} %, "
            f"its-hub's {100 * shares[NEIGHBOUR]:.0f} %",
        )
        for name in ways
        if name != NEIGHBOUR
    ]


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


async def in_turns(
    ways: Mapping[str, Solve], rounds: int, problems: int, at_a_time: int
) -> Mapping[str, Sequence[Work]]:
    """Each way once a round, the order turning round each time, after a short one that does not count."""
    worked: dict[str, list[Work]] = {name: [] for name in ways}
    for solve in ways.values():
        await solve(at_a_time, at_a_time)
    for turn in range(rounds):
        for name in ways if turn % 2 else reversed([*ways]):
            worked[name].append(await ways[name](problems, at_a_time))
    return worked


def by_http(session: aiohttp.ClientSession, url: str, extra: Mapping[str, Any]) -> Solve:
    """By an OpenAI-compatible server."""

    async def solve(problems: int, at_a_time: int) -> Work:
        asked = [json.loads(line) for line in lines(problems)]
        latencies, texts = [0.0] * problems, [""] * problems
        waiting, began = iter(range(problems)), time.perf_counter()

        async def worker() -> None:
            for index in waiting:
                started = time.perf_counter()
                messages = [{"role": "user", "content": asked[index]["question"]}]
                body = {"model": "mull-tiny", "messages": messages, **extra}
                async with session.post(url + "/v1/chat/completions", json=body) as response:
                    response.raise_for_status()
                    texts[index] = (await response.json())["choices"][0]["message"]["content"]
                latencies[index] = time.perf_counter() - started

        await asyncio.gather(*(worker() for _ in range(at_a_time)))
        return Work(seconds=time.perf_counter() - began, latencies=latencies, right=right(texts, asked))

    return solve


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


def right(texts: Sequence[str], problems: Sequence[Mapping[str, Any]]) -> int:
    """How many answers are the problem's."""
    boxed = (re.findall(r"\\boxed\{([^{}]*)\}", text) for text in texts)
    return sum(found[-1:] == [problem["answer"]] for found, problem in zip(boxed, problems, strict=True))
