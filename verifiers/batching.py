"""Micro-batching: candidates of concurrent requests go to the verifier together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mull.errors import VerifierUnavailable
from mull.protocols import Verifier
from mull.types import Candidate, Score, Task


@dataclass(eq=False)
class _Job:
    """One request's candidates."""

    task: Task
    candidates: Sequence[Candidate]
    result: asyncio.Future[None]
    scores: dict[int, Score] = field(default_factory=dict)
    drawn: int = 0
    running: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def left(self) -> int:
        """Candidates that still wait."""
        return len(self.candidates) - self.drawn


class Batcher:
    """Sends candidates to a verifier in batches.

    A batch leaves when it is full or its first candidate has waited long enough. Requests take turns,
    candidate by candidate, so a large one does not make a small one wait for all of it. Several batches may
    be under way; the engine merges them. Cancelling `score` removes what waits and cancels what runs.

    Use as an async context manager.

    Args:
        verifier: Where batches go.
        size: Candidates in a batch, at most.
        wait: Seconds that a batch may wait to fill up, once there is room for it.
        parallel: Batches under way, at most.
        queue: Candidates waiting, at most; beyond that requests are refused.
        on_batch: Told the size of each batch.
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        size: int = 64,
        wait: float = 0.002,
        parallel: int = 4,
        queue: int = 8192,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._verifier = verifier
        self._size = size
        self._wait = wait
        self._queue = queue
        self._on_batch = on_batch
        self._slots = asyncio.Semaphore(parallel)
        self._jobs: deque[_Job] = deque()
        self._open: set[_Job] = set()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._batches: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Batcher:
        self._loop = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        ending = [*self._batches, *([self._loop] if self._loop else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for job in self._open:
            if not job.result.done():
                job.result.set_exception(self._unavailable("is stopping"))

    @property
    def waiting(self) -> int:
        """Candidates that wait."""
        return sum(job.left for job in self._jobs)

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """As `Verifier.score`.

        Raises:
            VerifierUnavailable: too many candidates wait already, or the verifier's own reason.
        """
        if not candidates:
            return []
        if self.waiting + len(candidates) > self._queue:
            raise self._unavailable("is overloaded")
        job = _Job(task, candidates, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._open.add(job)
        self._arrived.set()
        if self.waiting >= self._size:
            self._full.set()
        try:
            await job.result
        finally:
            self._open.discard(job)
            if job in self._jobs:
                self._jobs.remove(job)
            for part in job.running:
                part.cancel()
        return [job.scores[index] for index in range(len(candidates))]

    def _unavailable(self, why: str) -> VerifierUnavailable:
        name = self._verifier.name
        return VerifierUnavailable(f"verifier {name!r} {why}", name=name)

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            await self._slots.acquire()
            if self.waiting < self._size:
                self._full.clear()
                try:
                    async with asyncio.timeout(self._wait):
                        await self._full.wait()
                except TimeoutError:
                    pass
            batch = asyncio.create_task(self._run(self._draw()))
            self._batches.add(batch)
            batch.add_done_callback(self._done)

    def _done(self, batch: asyncio.Task[None]) -> None:
        self._batches.discard(batch)
        self._slots.release()

    def _draw(self) -> dict[_Job, list[int]]:
        """Take a batch off the queue, the jobs in turn."""
        batch: dict[_Job, list[int]] = {}
        for _ in range(self._size):
            if not self._jobs:
                break
            job = self._jobs.popleft()
            batch.setdefault(job, []).append(job.drawn)
            job.drawn += 1
            if job.left:
                self._jobs.append(job)
        if not self._jobs:
            self._arrived.clear()
        return batch

    async def _run(self, batch: dict[_Job, list[int]]) -> None:
        if not batch:
            return
        self._on_batch(sum(map(len, batch.values())))
        parts = []
        for job, indices in batch.items():
            part = asyncio.create_task(self._score(job, indices))
            job.running.add(part)
            part.add_done_callback(job.running.discard)
            parts.append(part)
        try:
            await asyncio.wait(parts)
        finally:
            for part in parts:
                part.cancel()

    async def _score(self, job: _Job, indices: Sequence[int]) -> None:
        try:
            scores = await self._verifier.score(job.task, [job.candidates[i] for i in indices])
        except Exception as error:
            if not job.result.done():
                job.result.set_exception(error)
            return
        job.scores.update(zip(indices, scores, strict=True))
        if len(job.scores) == len(job.candidates) and not job.result.done():
            job.result.set_result(None)
