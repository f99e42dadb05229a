"""A client that leaves in the very moment in which there is news for it has left all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mull.server.events import Event, Solving, Text
from mull.types import Chat, Chunk, Task


class Endless:
    """A service whose searches never end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.commit: Callable[[Chunk], None]
        self.metrics = SimpleNamespace(first_token=SimpleNamespace(labels=lambda *_: self), observe=abs)
        self.observe = abs

    async def solve(self, job: Any, *, commit: Callable[[Chunk], None], listener: Any) -> None:
        self.commit = commit
        self.begun.set()
        await asyncio.Event().wait()


async def test_a_stream_ends_although_there_is_news() -> None:
    strategy = SimpleNamespace(needs=SimpleNamespace(continues=False))
    chat = Chat(messages=({"role": "user", "content": "hi"},))
    plan = SimpleNamespace(model="m", name="single", strategy=strategy)
    service: Any = Endless()
    job: Any = SimpleNamespace(task=Task(chat=chat), plan=plan, id="x")
    solving, told = Solving(service, job, heartbeat=60), list[Event]()
    heard = asyncio.Event()

    async def read() -> None:
        async for event in solving.events():
            told.append(event)
            heard.set()

    reading = asyncio.create_task(read())
    await service.begun.wait()
    service.commit(Chunk(text="one "))
    await heard.wait()
    assert isinstance(told[0], Text)
    # Both in the same turn of the loop.
    service.commit(Chunk(text="two "))
    reading.cancel()
    done, _ = await asyncio.wait({reading}, timeout=5)
    await solving.close()
    assert done, "the stream goes on"
