"""The requests of batches: how many at a time, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json
from starlette.types import ASGIApp

from mull.engines.tasks import uninterrupted
from mull.server.batches.check import numbered, parse
from mull.server.batches.inside import Answered, ask
from mull.server.batches.objects import Batch, Outcome, Tokens, new_id
from mull.server.batches.schemas import Line
from mull.server.batches.store import BatchStore
from mull.server.callers import Caller
from mull.server.live import RunningRequests
from mull.server.storage.errors import StoreUnavailable

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before a request is sent again for which there was no room."""
AT_ONCE = 32
"""Lines that are read together."""
PATIENCE = 1.0
"""Seconds until an answer that could not be kept is offered again."""


class Lines:
    """Sends the lines of all batches: those of several take turns.

    Args:
        store: What is remembered of them.
        live: Knows how many requests somebody waits for.
        concurrency: Lines that are under way at a time, of all batches together.
        pause_at: Interactive requests that have to be running for no line to be sent.
        most_bytes: Bytes that a line may have.
    """

    def __init__(
        self,
        store: BatchStore,
        live: RunningRequests,
        *,
        concurrency: int,
        pause_at: int,
        most_bytes: int,
    ) -> None:
        self._store = store
        self._live = live
        self._slots = asyncio.Semaphore(concurrency)
        self._pause_at = pause_at
        self._most_bytes = most_bytes

    async def send(self, batch: Batch, path: Path, app: ASGIApp) -> None:
        """Send the lines of a batch that are not over, and record what comes of them.

        Args:
            batch: The batch.
            path: Its input.
            app: Where they are sent.

        Raises:
            LeaseLost: another server works on it now.
        """
        async with asyncio.TaskGroup() as group, aclosing(self._left(batch, path)) as left:
            async for number, line in left:
                await self._slots.acquire()
                task = group.create_task(self._one(batch, number, line, app))
                # Not in the task itself: one that is cancelled at once never runs.
                task.add_done_callback(lambda _: self._slots.release())

    async def expire(self, batch: Batch, path: Path) -> None:
        """Record of all lines that are not over that their time is."""
        error = {
            "code": "batch_expired",
            "message": f"not answered within the completion window of {batch.completion_window}",
        }
        async with aclosing(self._left(batch, path)) as left:
            async for number, line in left:
                content = _written(line, new_id("batch_req_"), response=b"null", error=error)
                await self._store.record(batch.id, Outcome(line=number, kind="expired", content=content))

    async def _one(self, batch: Batch, number: int, line: Line, app: ASGIApp) -> None:
        await self._live.fewer_than(self._pause_at)
        name = new_id("batch_req_")
        answered = await self._answered(batch, line, name, app)
        outcome = await asyncio.to_thread(_outcome, line, number, name, answered)
        while True:
            try:
                # A batch that is cancelled meanwhile has its answer before it is put together.
                return await uninterrupted(self._store.record(batch.id, outcome))
            except StoreUnavailable:  # what was generated is not lost, and nothing more is begun meanwhile
                await asyncio.sleep(PATIENCE)

    async def _answered(self, batch: Batch, line: Line, name: str, app: ASGIApp) -> Answered:
        caller = Caller(owner=batch.owner, batch=batch.id)
        body = await asyncio.to_thread(to_json, line.body)
        for wait in (*WAITS, None):
            answered = await ask(app, batch.endpoint, body, caller=caller, name=name)
            if answered.status not in (429, 503) or wait is None:
                break
            await asyncio.sleep(wait)
        return answered

    async def _left(self, batch: Batch, path: Path) -> AsyncGenerator[tuple[int, Line], None]:
        """The lines that are not over; the file was checked before."""
        over = await self._store.recorded(batch.id)
        with await asyncio.to_thread(path.open, "rb") as file:
            lines = numbered(file, self._most_bytes)
            while part := await asyncio.to_thread(lambda: list(islice(lines, AT_ONCE))):
                for number, data in part:
                    if number not in over:
                        yield number, await asyncio.to_thread(parse, data, batch.endpoint, self._most_bytes)


def _outcome(line: Line, number: int, name: str, answered: Answered) -> Outcome:
    told = from_json(answered.body)
    usage = told.get("usage") if isinstance(told, Mapping) else None
    response = b'{"status_code":%d,"request_id":%s,"body":%s}' % (
        answered.status,
        to_json(name),
        to_json(told) if b"\n" in answered.body else answered.body,
    )
    return Outcome(
        line=number,
        kind="completed" if answered.status == 200 else "failed",
        content=_written(line, name, response=response, error=None),
        tokens=Tokens.of(usage),
    )


def _written(line: Line, name: str, *, response: bytes, error: Any) -> bytes:
    """A line of an output or error file."""
    return b'{"id":%s,"custom_id":%s,"response":%s,"error":%s}' % (
        to_json(name),
        to_json(line.custom_id),
        response,
        to_json(error),
    )
