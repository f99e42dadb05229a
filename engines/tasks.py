"""Concurrent work that leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def as_finished(works: Iterable[Coroutine[Any, Any, T]]) -> AsyncGenerator[T, None]:
    """Run all at once and yield results as they come; closing cancels the rest and waits for its end."""
    finished: asyncio.Queue[asyncio.Task[T]] = asyncio.Queue()
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(finished.put_nowait)
    try:
        for _ in tasks:
            yield (await finished.get()).result()
    finally:
        if left := [task for task in tasks if not task.done()]:
            for task in left:
                task.cancel()
            await uninterrupted(asyncio.wait(left))
        for task in tasks:
            # What failed beside the first failure has been told with it.
            _ = task.cancelled() or task.exception()


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end; a cancellation that comes meanwhile takes effect after it."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        _ = task.cancelled() or task.exception()
        raise cancelled
    return task.result()
