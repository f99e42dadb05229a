"""An engine with more to do than it can: who is next, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from mull.answers import Answers
from mull.engines.launch import EngineSpec, launch, stop
from mull.engines.vllm import VLLMGenerator
from mull.run import Run
from mull.strategies.beam_search import BeamSearch
from mull.testing import ScriptedVerifier
from mull.testing.golden import tree
from mull.types import Chat, Sampling, Task

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1200),
]

SEQUENCES = 2
"""Requests that the engine works on at a time."""
SEARCH = BeamSearch(width=2, expand=2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowded(policy: str) -> AsyncIterator[VLLMGenerator]:
    engines = await launch([EngineSpec(name="crowded", model=policy, options={"max_num_seqs": SEQUENCES})])
    yield VLLMGenerator(engines["crowded"], model="crowded")
    await stop(engines)


def preemptions() -> float:
    labels = {"model_name": "crowded", "engine": "0"}
    found = REGISTRY.get_sample_value("vllm:num_preemptions_total", labels)
    assert found is not None
    return found


async def test_what_waits_is_ordered_and_what_runs_goes_on(crowded: VLLMGenerator, chat: Chat) -> None:
    prompt, before = await crowded.render(chat), preemptions()
    endless = Sampling(extra={"ignore_eos": True})
    ended: list[int] = []

    async def occupy(running: asyncio.Event) -> None:
        last = replace(endless, max_tokens=300, priority=1000)
        async with aclosing(crowded.stream(prompt, last)) as chunks:
            async for _ in chunks:
                running.set()

    async def ask(priority: int) -> None:
        mine = replace(endless, max_tokens=8, priority=priority)
        async with aclosing(crowded.sample(prompt, mine)) as completions:
            await anext(completions)
        ended.append(priority)

    async with asyncio.TaskGroup() as group:
        for running in [asyncio.Event() for _ in range(SEQUENCES)]:
            group.create_task(occupy(running))
            await running.wait()
        for priority in (9, 9, 5, 1, 5, 1):
            group.create_task(ask(priority))
    assert ended == [1, 1, 5, 5, 9, 9]
    assert preemptions() == before


async def test_seeded_searches_are_the_same_in_a_crowd(crowded: VLLMGenerator, chat: Chat) -> None:
    judge = ScriptedVerifier(lambda text, ended: len(text) % 7 / 7, name="judge", kind="process")
    async with Answers() as answers:

        async def searched(seed: int, priority: int = 0) -> dict[str, Any]:
            task = Task(chat=chat, sampling=Sampling(seed=seed, max_tokens=120, priority=priority))
            run = Run(task=task, generator=crowded, answers=answers, verifier=judge)
            await SEARCH(task, run)
            return tree(run.trace)

        alone = [await searched(seed) for seed in range(6)]
        assert all(alone.count(each) == 1 for each in alone)
        # Those that come last go first.
        together = await asyncio.gather(*(searched(seed, 100 - seed) for seed in range(6)))
    assert together == alone
