"""Families of next steps that grow side by side, none waiting for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from mull.spending import first_of
from mull.trace import Trace
from mull.types import Candidate, Finish

Grow = Callable[[Candidate, int], AsyncGenerator[Candidate, None]]
"""Samples so many next steps of a partial answer, in the order in which they finish."""


class Family:
    """The next steps of one partial answer: those that have come, and how many may still."""

    def __init__(self, origin: Candidate, n: int) -> None:
        self.origin = origin
        self.children: list[Candidate] = []
        """In the order in which they came."""
        self.whole = False
        """Whether no more will come."""
        self._n = n
        self._first: dict[object, Candidate] = {}
        self._kept: dict[tuple[str, Finish | None], Candidate] = {}

    @property
    def coming(self) -> int:
        """How many may still come."""
        return 0 if self.whole else self._n - len(self.children)

    def add(self, child: Candidate) -> None:
        """One more has come."""
        self.children.append(child)
        begun = len(self.origin.prompt.ids or ())
        same = child.text, child.finish
        exact = *same, () if child.prompt.ids is None else child.prompt.ids[begun:]
        first = self._first.setdefault(exact, child)
        if same not in self._kept or child.index < self._kept[same].index:
            self._kept[same] = first if first.index == child.index else replace(first, index=child.index)

    @property
    def distinct(self) -> list[Candidate]:
        """What has come, by index, equal steps merged into the first of them.

        Of such as have the same tokens too, the one that came first stands for all, so that what has been
        done with it remains done.
        """
        return sorted(self._kept.values(), key=lambda step: step.index)

    def settle(self, trace: Trace) -> list[Candidate]:
        """`distinct`, once it is whole; the steps that have been merged into others are marked."""
        kept = self.distinct
        nodes = {step.node for step in kept}
        for child in self.children:
            if child.node not in nodes:
                trace.annotate(child.node, merged=True)
        return kept


class Growth:
    """The families that grow now; each is sampled by a task of its own."""

    def __init__(self, group: asyncio.TaskGroup, grow: Grow) -> None:
        self.vain: set[int] = set()
        """Origins (trace nodes) of families that nobody wanted in the end."""
        self._group = group
        self._grow = grow
        self._begun: dict[int, tuple[Family, asyncio.Task[None]]] = {}
        self._news = asyncio.Event()

    def begin(self, origin: Candidate, n: int) -> None:
        """Let a family grow that may be wanted, unless it does already."""
        if not self.has(origin):
            family = Family(origin, n)
            self._begun[origin.node] = family, self._group.create_task(self._fill(family, n))

    def has(self, origin: Candidate) -> bool:
        """Whether its family grows already."""
        return origin.node in self._begun

    def take(self, origins: Sequence[Candidate], n: int) -> list[Family]:
        """The families of these origins, in order; all others that have begun are in vain, and end."""
        for origin in origins:
            self.begin(origin, n)
        families = [self._begun.pop(origin.node)[0] for origin in origins]
        self.vain |= self._begun.keys()
        for _, task in self._begun.values():
            task.cancel()
        self._begun.clear()
        return families

    async def news(self) -> None:
        """Wait until something has come, or ended, since the last time."""
        await self._news.wait()
        self._news.clear()

    async def _fill(self, family: Family, n: int) -> None:
        async with aclosing(self._grow(family.origin, n)) as steps:
            async for step in steps:
                family.add(step)
                self._news.set()
        family.whole = True
        self._news.set()


@asynccontextmanager
async def growing(grow: Grow) -> AsyncGenerator[Growth, None]:
    """A place for families to grow; leaving it ends what still does, and waits for the bill.

    One failure ends all of them.
    """
    try:
        async with asyncio.TaskGroup() as group:
            growth = Growth(group, grow)
            yield growth
            growth.take((), 0)
    except BaseExceptionGroup as failed:
        raise first_of(failed) from None
