"""What is aborted ends in the engine at once, and costs what the engine says it cost."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from prometheus_client import REGISTRY

from mull.engines.remote import RemoteGenerator
from mull.engines.vllm import VLLMGenerator
from mull.types import Chat, Meter, Prompt, Sampling

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1200),
]

Engine = VLLMGenerator | RemoteGenerator
ENDLESS = Sampling(extra={"ignore_eos": True})
SOON = 1.0


async def metric(generator: Engine, name: str) -> float:
    """One of the engine's own metrics."""
    if isinstance(generator, VLLMGenerator):
        labels = {"model_name": "policy", "engine": "0"}
        return REGISTRY.get_sample_value(name, labels) or 0.0
    text = (await generator._connection._session.get(generator._connection._root + "/metrics")).text()
    return sum(float(line.split()[-1]) for line in (await text).splitlines() if line.startswith(name + "{"))


async def generated(generator: Engine) -> float:
    return await metric(generator, "vllm:generation_tokens_total")


async def ended(generator: Engine) -> None:
    """Return when the engine works no more: it generates nothing, and says so."""
    for _ in range(1000):
        if await metric(generator, "vllm:num_requests_running") == 0:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the engine goes on")


async def test_leaving_a_loop_ends_the_rest(generator: Engine, chat: Chat) -> None:
    prompt = await generator.render(chat)
    before, meter = await generated(generator), Meter()
    short = Sampling(max_tokens=60)
    async with aclosing(generator.sample(prompt, short, n=1, meter=meter)) as results:
        await anext(results)
    assert await generated(generator) - before == meter.usage.completion
    async with aclosing(generator.sample(prompt, ENDLESS, n=4, meter=meter)) as results:
        task = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert meter.calls == 5
    await ended(generator)
    spent = await generated(generator) - before
    assert meter.usage.completion <= spent
    # Over HTTP some tokens are on their way when the connection is dropped.
    if isinstance(generator, VLLMGenerator):
        assert meter.usage.completion == spent
        assert generator.running == 0


async def test_a_cancelled_stream_is_billed(generator: Engine, chat: Chat) -> None:
    prompt = await generator.render(chat)
    before, meter, seen, much = await generated(generator), Meter(), 0, asyncio.Event()

    async def follow() -> None:
        nonlocal seen
        async with aclosing(generator.stream(prompt, ENDLESS, meter=meter)) as chunks:
            async for _ in chunks:
                seen += 1
                if seen == 20:
                    much.set()

    task = asyncio.create_task(follow())
    await much.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert meter.calls == 1
    assert seen <= meter.usage.completion
    await ended(generator)
    spent = await generated(generator) - before
    assert meter.usage.completion <= spent < generator.context - len(prompt.ids or ())
    if isinstance(generator, VLLMGenerator):
        assert meter.usage.completion == spent


async def test_being_cancelled_twice_loses_nothing(local: VLLMGenerator, chat: Chat) -> None:
    prompt = await local.render(chat)
    before, meter = await generated(local), Meter()

    async def work() -> None:
        async with aclosing(local.sample(prompt, ENDLESS, n=3, meter=meter)) as results:
            async for _ in results:
                pass

    task = asyncio.create_task(work())
    await asyncio.sleep(0.2)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert meter.calls == 3
    assert meter.usage.completion == await generated(local) - before
    assert meter.usage.prompt == 3 * len(prompt.ids or ())
    await ended(local)


async def test_the_engine_is_free_within_a_second(local: VLLMGenerator, chat: Chat) -> None:
    """Also by the scheduler's own account, which vLLM reports only with its next output."""
    prompt = await local.render(chat)
    tasks = [asyncio.create_task(drain(local, prompt)) for _ in range(8)]
    await asyncio.sleep(0.1)
    assert local.running == 16
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(SOON):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert local.running == 0


async def drain(generator: Engine, prompt: Prompt) -> None:
    async with aclosing(generator.sample(prompt, ENDLESS, n=2)) as results:
        async for _ in results:
            pass
