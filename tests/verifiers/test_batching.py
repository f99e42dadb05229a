"""Micro-batching: together, in turns, bounded, cancellable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mull.errors import VerifierUnavailable
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.batching import Batcher

Make = Callable[..., Any]


class Recorder:
    """A verifier that scores a number by itself, notes its calls and waits for a gate."""

    name = "recorder"
    kind: VerifierKind = "outcome"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.asked = asyncio.Event()
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        self.calls.append([c.text for c in candidates])
        self.asked.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if any(c.text == "bad" for c in candidates):
            raise VerifierUnavailable("gone", name=self.name)
        return [Score(value=float(c.text)) for c in candidates]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_request_larger_than_a_batch_comes_back_whole_and_in_order(
    task: Make, candidate: Make
) -> None:
    verifier = Recorder()
    sizes: list[int] = []
    async with Batcher(verifier, size=4, wait=0, on_batch=sizes.append) as batcher:
        scores = await batcher.score(task(), [candidate(str(n)) for n in range(10)])
    assert [s.value for s in scores] == list(range(10))
    assert sizes == [4, 4, 2]


async def test_concurrent_requests_share_a_batch(task: Make, candidate: Make) -> None:
    sizes: list[int] = []
    async with Batcher(Recorder(), size=3, wait=30, on_batch=sizes.append) as batcher:
        async with asyncio.timeout(10):  # far below the wait: a full batch leaves at once
            found = await asyncio.gather(*(batcher.score(task(), [candidate(str(n))]) for n in range(3)))
    assert [score.value for (score,) in found] == [0, 1, 2]
    assert sizes == [3]


async def test_requests_take_turns(task: Make, candidate: Make) -> None:
    verifier = Recorder()
    async with Batcher(verifier, size=4, wait=0.05, parallel=1) as batcher:
        large = asyncio.create_task(batcher.score(task(), [candidate(str(n)) for n in range(8)]))
        await settle()
        small = asyncio.create_task(batcher.score(task(), [candidate("100")]))
        await asyncio.gather(large, small)
    position = verifier.calls.index(["100"])
    assert position <= 2, f"the small request waited for the large one: {verifier.calls}"


async def test_a_batch_leaves_when_it_has_waited_long_enough(task: Make, candidate: Make) -> None:
    async with Batcher(Recorder(), size=64, wait=0.01) as batcher:
        async with asyncio.timeout(30):
            assert len(await batcher.score(task(), [candidate("1")])) == 1


async def test_one_failure_is_not_the_others(task: Make, candidate: Make) -> None:
    async with Batcher(Recorder(), size=2, wait=30) as batcher:
        good = asyncio.create_task(batcher.score(task(), [candidate("1")]))
        bad = asyncio.create_task(batcher.score(task(), [candidate("bad")]))
        assert (await good)[0].value == 1
        with pytest.raises(VerifierUnavailable):
            await bad


async def test_too_much_waiting_is_refused(task: Make, candidate: Make) -> None:
    verifier = Recorder()
    verifier.gate.clear()
    async with Batcher(verifier, size=2, wait=0, parallel=1, queue=4) as batcher:
        first = asyncio.create_task(batcher.score(task(), [candidate(str(n)) for n in range(4)]))
        await settle()
        with pytest.raises(VerifierUnavailable, match="overloaded"):
            await batcher.score(task(), [candidate(str(n)) for n in range(3)])
        verifier.gate.set()
        assert len(await first) == 4


async def test_cancelling_removes_what_waits_and_cancels_what_runs(task: Make, candidate: Make) -> None:
    verifier = Recorder()
    verifier.gate.clear()
    async with Batcher(verifier, size=2, wait=0, parallel=1) as batcher:
        doomed = asyncio.create_task(batcher.score(task(), [candidate(str(n)) for n in range(6)]))
        await verifier.asked.wait()
        assert batcher.waiting == 4
        doomed.cancel()
        await settle()
        assert (batcher.waiting, verifier.cancelled) == (0, 1)
        verifier.gate.set()
        assert (await batcher.score(task(), [candidate("7")]))[0].value == 7
    assert len(verifier.calls) == 2


async def test_closing_cancels_what_runs_and_fails_who_waits(task: Make, candidate: Make) -> None:
    verifier = Recorder()
    verifier.gate.clear()
    async with Batcher(verifier, wait=0) as batcher:
        doomed = asyncio.create_task(batcher.score(task(), [candidate("1")]))
        await verifier.asked.wait()
    with pytest.raises(VerifierUnavailable, match="stopping"):
        await doomed
    assert verifier.cancelled == 1


async def test_nothing_to_score(task: Make) -> None:
    async with Batcher(Recorder()) as batcher:
        assert await batcher.score(task(), []) == []
