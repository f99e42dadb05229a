"""The routes that show searches: those that run, and those that are over."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

from fastapi import Query, Request, Response

from mull.errors import InvalidRequest
from mull.server.callers import Caller, caller_of
from mull.server.live import RunningRequests
from mull.server.query import whole_number
from mull.server.record import record
from mull.server.reply import as_json
from mull.server.settings import Settings
from mull.server.traces import TraceStore, readable, stored
from mull.server.watching import Watch, replay, watch

MOST = 1000
SPEEDS = 0.01, 1000.0


class Observing:
    """Traces, their events, and what runs now.

    Args:
        settings: The configuration.
        store: The traces; None where none are kept.
        live: The requests that are being solved.
    """

    def __init__(self, settings: Settings, store: TraceStore | None, live: RunningRequests) -> None:
        self._store = store
        self._live = live
        self._text = settings.traces.text
        self._heartbeat = settings.heartbeat
        self._anonymous = not settings.keyed

    async def running(self, request: Request) -> Response:
        """The requests that are being solved: all for administrators, his own for a user."""
        caller = caller_of(request)
        rows = [running.to_dict() for running in self._live.of(caller)]
        if self._anonymous and not caller.admin:
            # Nobody can be told from anybody else here, and an id is all it takes to read a request.
            rows = [row | {"id": None} for row in rows]
        return as_json({"object": "list", "data": rows})

    async def traces(
        self,
        limit: Annotated[str, Query()] = "20",
        after: Annotated[str | None, Query()] = None,
    ) -> Response:
        """Finished requests, newest first; `after` is the id of the last one seen."""
        store = stored(self._store, "traces")
        most = whole_number("limit", limit, most=MOST)
        rows, more = await store.call(lambda: store.page(limit=most, after=after))
        data = [{"object": "ttc.trace", **row} for row in rows]
        return as_json({"object": "list", "data": data, "has_more": more})

    async def trace(self, name: str, request: Request) -> Response:
        """A request with its search, as far as it has come, and the feedback on it."""
        caller = caller_of(request)
        if (running := self._live.find(name, caller)) is not None:
            found = await asyncio.to_thread(record, running.so_far(), text=self._text)
            return as_json({"object": "ttc.trace", **found, "feedback": []})
        return as_json(await self._finished(name, caller))

    async def events(
        self, name: str, request: Request, speed: Annotated[str | None, Query()] = None
    ) -> Response:
        """A search as server-sent events; `speed` is how fast one that is over is told again."""
        factor = None if speed is None else _speed(speed)
        caller = caller_of(request)
        if (running := self._live.find(name, caller)) is not None:
            return Watch(watch(running, text=self._text, heartbeat=self._heartbeat))
        found = await self._finished(name, caller)
        return Watch(replay(found, speed=factor, heartbeat=self._heartbeat))

    async def _finished(self, name: str, caller: Caller) -> dict[str, Any]:
        store = stored(self._store, "traces")
        await readable(store, name, caller)
        found, feedback = await store.call(lambda: (store.get(name), store.feedback(name)))
        return {"object": "ttc.trace", **found, "feedback": feedback}


def _speed(given: str) -> float:
    try:
        speed = float(given)
    except ValueError:
        speed = math.nan
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise InvalidRequest(
            f"speed must be a number from {SPEEDS[0]:g} to {SPEEDS[1]:g}, not {given!r:.60}", param="speed"
        )
    return speed
