"""Concurrent work that leaves nothing behind."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from mull.engines.tasks import as_finished, uninterrupted


async def test_results_come_as_they_finish() -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def wait(index: int) -> int:
        await gates[index].wait()
        return index

    seen = []
    async with aclosing(as_finished(wait(i) for i in range(3))) as results:
        for index in (2, 0, 1):
            gates[index].set()
            seen.append(await anext(results))
    assert seen == [2, 0, 1]


async def test_closing_cancels_the_rest_and_waits_for_its_end() -> None:
    ended = []

    async def work(index: int) -> int:
        try:
            await asyncio.sleep(0 if index == 0 else 60)
        finally:
            await asyncio.sleep(0)
            ended.append(index)
        return index

    async with aclosing(as_finished(work(i) for i in range(4))) as results:
        assert await anext(results) == 0
    assert sorted(ended) == [0, 1, 2, 3]


async def test_one_failure_is_told_and_ends_the_others() -> None:
    cancelled = []

    async def fail() -> int:
        raise ValueError("first")

    async def last() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return 0

    with pytest.raises(ValueError, match="first"):
        async with aclosing(as_finished([last(), fail(), fail()])) as results:
            await anext(results)
    assert cancelled == [True]


async def test_a_cancellation_waits_for_what_must_not_be_interrupted() -> None:
    gate, ended = asyncio.Event(), []

    async def clean_up() -> None:
        await gate.wait()
        ended.append(True)

    task = asyncio.create_task(uninterrupted(clean_up()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_uninterrupted_work_gives_its_result_or_error() -> None:
    async def result() -> int:
        return 1

    async def error() -> int:
        raise ValueError("no")

    assert await uninterrupted(result()) == 1
    with pytest.raises(ValueError, match="no"):
        await uninterrupted(error())
