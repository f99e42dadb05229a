"""How long engines are at work for a search, and how long both at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager

from mull.protocols import Generator, Verifier
from mull.server.around import Around
from mull.types import Candidate, Chunk, Completion, Meter, Prompt, Sampling, Score, Task


class Clock:
    """Runs while there is at least one piece of work, and counts by kinds of work what is under way."""

    def __init__(self) -> None:
        self.seconds: dict[frozenset[str], float] = {}
        """By the kinds of work that were under way."""
        self._under_way: dict[str, int] = {}
        self._since = time.perf_counter()

    @contextmanager
    def working(self, kind: str) -> Iterator[None]:
        """A piece of work of this kind."""
        self._turn(kind, 1)
        try:
            yield
        finally:
            self._turn(kind, -1)

    def of(self, kind: str) -> float:
        """Seconds in which there was work of this kind."""
        return sum(seconds for kinds, seconds in self.seconds.items() if kind in kinds)

    def alone(self, kind: str) -> float:
        """Seconds in which there was work of this kind and no other."""
        return self.seconds.get(frozenset({kind}), 0.0)

    def _turn(self, kind: str, change: int) -> None:
        now = time.perf_counter()
        kinds = frozenset(kind for kind, count in self._under_way.items() if count)
        self.seconds[kinds] = self.seconds.get(kinds, 0.0) + now - self._since
        self._since = now
        self._under_way[kind] = self._under_way.get(kind, 0) + change


class Generating(Around):
    """A generator whose samples are work on a clock."""

    def __init__(self, inner: Generator, clock: Clock) -> None:
        super().__init__(inner)
        self._clock = clock

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        """What the other one samples."""
        with self._clock.working("generation"):
            async with aclosing(self._inner.sample(prompt, sampling, n=n, meter=meter)) as completions:
                async for completion in completions:
                    yield completion

    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """What the other one streams."""
        with self._clock.working("generation"):
            async with aclosing(self._inner.stream(prompt, sampling, meter=meter)) as chunks:
                async for chunk in chunks:
                    yield chunk


class Scoring:
    """A verifier whose scores are work on a clock."""

    def __init__(self, verifier: Verifier, clock: Clock) -> None:
        self.name, self.kind = verifier.name, verifier.kind
        self._verifier, self._clock = verifier, clock

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """What the other one says."""
        with self._clock.working("scoring"):
            return await self._verifier.score(task, candidates)
