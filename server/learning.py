"""The routes through which a server's traffic becomes better verifiers."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Query, Request, Response

from mull.errors import InvalidRequest
from mull.server.backend import Backend
from mull.server.body import read_as
from mull.server.feedback import Feedback
from mull.server.metrics import Metrics
from mull.server.reload import Reloader, ReloadRequest
from mull.server.reply import as_json
from mull.server.settings import Settings
from mull.server.traces import TraceStore

MOST = 1000


class Learning:
    """Traces, feedback and reloading.

    Args:
        settings: The configuration.
        backend: What the server runs on.
        metrics: Where reloads are counted.
        store: The traces; None where none are kept.
    """

    def __init__(
        self, settings: Settings, backend: Backend, metrics: Metrics, store: TraceStore | None
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._store = store
        self._reloader = Reloader(settings, backend, metrics)

    async def traces(
        self,
        limit: Annotated[str, Query()] = "20",
        after: Annotated[str | None, Query()] = None,
    ) -> Response:
        """Finished requests, newest first; `after` is the id of the last one seen."""
        store = self._stored("traces")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 9 and 1 <= int(limit) <= MOST):
            raise InvalidRequest(
                f"limit must be an integer from 1 to {MOST}, not {limit!r:.60}", param="limit"
            )
        rows, more = await asyncio.to_thread(store.page, limit=int(limit), after=after)
        data = [{"object": "ttc.trace", **row} for row in rows]
        return as_json({"object": "list", "data": data, "has_more": more})

    async def trace(self, name: str) -> Response:
        """A finished request with its search, and the feedback on it."""
        store = self._stored("traces")
        found = await asyncio.to_thread(store.get, name)
        feedback = await asyncio.to_thread(store.feedback.of, name)
        return as_json({"object": "ttc.trace", **found, "feedback": feedback})

    async def feedback(self, request: Request) -> Response:
        """Keep what a user says of an answer."""
        store = self._stored("feedback")
        given = await read_as(Feedback, request, self._settings.limits)
        if not self._settings.traces.text and (given.reference is not None or given.comment is not None):
            field = "reference" if given.reference is not None else "comment"
            raise InvalidRequest(
                f"{field}: this server keeps no text (traces.text is false); right and rating are kept",
                param=field,
            )
        row = await asyncio.to_thread(store.row, given.trace_id)
        if given.node is not None and given.node >= row["nodes"]:
            raise InvalidRequest(
                f"node must be an integer from 0 to {row['nodes'] - 1}: the trace has no node {given.node}",
                param="node",
            )
        new = await asyncio.to_thread(store.feedback.add, given)
        return as_json({"object": "ttc.feedback", "trace_id": given.trace_id, "new": new})

    async def reload(self, name: str, request: Request) -> Response:
        """Put another version of a verifier in the place of the present one."""
        self._backend.check_started()
        asked = await read_as(ReloadRequest, request, self._settings.limits)
        return as_json(await self._reloader.reload(name, asked))

    def _stored(self, what: str) -> TraceStore:
        if self._store is None:
            raise InvalidRequest(
                f"{what}: no traces are kept; set traces.dir in the configuration (MULL_TRACES__DIR)",
                code="traces_not_configured",
            )
        return self._store
