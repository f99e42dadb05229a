"""How fast engines start, what HTTP costs a search, and whether the event loop stays free.

    python benchmarks/engines.py [--models models] [--chains 64] [--steps 16] [--rounds 3]

Prints a Markdown table. The ways are measured in turns within one run, so that their ratios hold on a busy
machine too, where the seconds themselves mean little.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil

from mull.engines.launch import CPU_OPTIONS, EngineSpec, launch, on_cpu, stop
from mull.engines.remote import RemoteGenerator
from mull.engines.vllm import VLLMGenerator
from mull.protocols import Generator
from mull.types import Chat, Prompt, Sampling

CHAT = Chat(messages=({"role": "user", "content": "Tom has 3 apples and buys 4 more. How many has he?"},))
TOKENS = 8
"""Of each step."""

Ids = tuple[int, ...]
Step = Callable[[Ids, int], Awaitable[Ids]]
"""Token ids so far and a seed to the next token ids."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--start", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        asyncio.run(start(options.models, options.start))
        return
    print("| measured | seconds |\n|---|---|")
    for names in (["policy"], ["policy", "orm", "prm"]):
        command = [sys.executable, __file__, "--models", str(options.models), "--start", *names]
        seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        print(f"| {len(names)} engine(s) ready, Python's start included | {seconds} |", flush=True)
    asyncio.run(compare(options.models / "policy", options.chains, options.steps, options.rounds))


async def start(models: Path, names: list[str]) -> None:
    """Start engines in this fresh process and say how long that took since the process began."""
    engines = await launch([spec(models / name) for name in names])
    print(f"{time.time() - psutil.Process().create_time():.1f}")
    await stop(engines)


def spec(model: Path) -> EngineSpec:
    """An engine for one of the bundled models."""
    if model.name == "policy":
        return EngineSpec(name=model.name, model=str(model))
    return EngineSpec(name=model.name, model=str(model), runner="pooling")


async def compare(model: Path, chains: int, steps: int, rounds: int) -> None:
    """The same search by each way, in turns."""
    async with contextlib.AsyncExitStack() as stack:
        engines = await launch([spec(model)])
        stack.push_async_callback(stop, engines)
        local = VLLMGenerator(engines["policy"], model="policy")
        url = await stack.enter_async_context(server(model))
        remote = await RemoteGenerator.connect(url, model="policy")
        stack.push_async_callback(remote.close)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=None, limits=httpx.Limits()))
        ways = {
            "in this process": by_generator(local),
            "HTTP, RemoteGenerator (aiohttp, streamed)": by_generator(remote),
            "HTTP, aiohttp, not streamed": by_aiohttp(session, url),
            "HTTP, httpx, not streamed": by_httpx(client, url),
        }
        prompt = (await local.render(CHAT)).ids or ()
        taken: dict[str, list[float]] = {name: [] for name in ways}
        late: dict[str, list[float]] = {name: [] for name in ways}
        for round in range(-1, rounds):
            for name, step in ways.items():
                async with heartbeat() as beats:
                    began = time.perf_counter()
                    seeds = [1000 * (round + 1) + chain for chain in range(chains)]
                    await asyncio.gather(*(chain(step, prompt, steps, seed) for seed in seeds))
                    seconds = time.perf_counter() - began
                if round >= 0:
                    taken[name].append(seconds)
                    late[name] += beats
    print(f"\n| {chains} chains of {steps} steps | seconds | ratio | event loop late, p99 | most |")
    print("|---|---|---|---|---|")
    base = statistics.median(taken["in this process"])
    for name, seconds_of in taken.items():
        seconds = statistics.median(seconds_of)
        print(f"| {name} | {seconds:.2f} | {seconds / base:.2f} | {lateness(late[name])} |")
    print(f"| engine in a thread of this process | | | {lateness(await in_a_thread(model, chains, steps))} |")


async def chain(step: Step, ids: Ids, steps: int, seed: int) -> None:
    """One path, step after step."""
    for _ in range(steps):
        ids += await step(ids, seed)


def by_generator(generator: Generator) -> Step:
    """A step by one of mull's engines."""

    async def step(ids: Ids, seed: int) -> Ids:
        sampling = Sampling(max_tokens=TOKENS, seed=seed, extra={"ignore_eos": True})
        async with aclosing(generator.sample(Prompt(chat=CHAT, ids=ids), sampling)) as results:
            return (await anext(results)).ids

    return step


def by_aiohttp(session: aiohttp.ClientSession, url: str) -> Step:
    """A step as a plain request."""

    async def step(ids: Ids, seed: int) -> Ids:
        async with session.post(url + "/v1/completions", json=body(ids, seed)) as response:
            return tuple((await response.json())["choices"][0]["token_ids"])

    return step


def by_httpx(client: httpx.AsyncClient, url: str) -> Step:
    """The same by another client."""

    async def step(ids: Ids, seed: int) -> Ids:
        response = await client.post(url + "/v1/completions", json=body(ids, seed))
        return tuple(response.json()["choices"][0]["token_ids"])

    return step


def body(ids: Ids, seed: int) -> dict[str, Any]:
    """What `by_generator` asks, to be answered in one piece."""
    settings = {"max_tokens": TOKENS, "ignore_eos": True, "return_token_ids": True}
    return {"model": "policy", "prompt": list(ids), "seed": seed, **settings}


@asynccontextmanager
async def server(model: Path) -> AsyncIterator[str]:
    """VLLM's own server with the settings of our engines."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "policy", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    if on_cpu():
        command += ["--enforce-eager", "--dtype", str(CPU_OPTIONS["dtype"])]
        command += ["--block-size", str(CPU_OPTIONS["block_size"])]
        command += ["--kv-cache-memory-bytes", str(CPU_OPTIONS["kv_cache_memory_bytes"])]
        environment |= {"OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            while process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(url + "/health"):
                        break
                await asyncio.sleep(0.1)
        print(f"| vLLM's own server ready | {time.perf_counter() - began:.1f} |", flush=True)
        yield url
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def heartbeat(period: float = 0.005) -> AsyncIterator[list[float]]:
    """How late the event loop is, in seconds, again and again meanwhile."""
    late: list[float] = []

    async def beat() -> None:
        while True:
            due = time.perf_counter() + period
            await asyncio.sleep(period)
            late.append(time.perf_counter() - due)

    task = asyncio.create_task(beat())
    try:
        yield late
    finally:
        task.cancel()


def lateness(late: list[float]) -> str:
    """Two cells of a table."""
    return f"{1000 * sorted(late)[int(0.99 * len(late))]:.0f} ms | {1000 * max(late):.0f} ms"


async def in_a_thread(model: Path, chains: int, steps: int) -> list[float]:
    """How late the event loop is beside an engine that computes in a thread of the same process."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    options = dict(CPU_OPTIONS) if on_cpu() else {}
    llm = await asyncio.to_thread(LLM, str(model), disable_log_stats=True, **options)
    prompts = [TokensPrompt(prompt_token_ids=[1 + i % 50, *range(3, 40)]) for i in range(chains)]
    params = SamplingParams(max_tokens=TOKENS * steps, ignore_eos=True)
    async with heartbeat() as late:
        await asyncio.to_thread(llm.generate, prompts, params, use_tqdm=False)
    return late


if __name__ == "__main__":
    main()
