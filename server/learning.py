"""The routes through which a server's traffic becomes better verifiers."""

from __future__ import annotations

from fastapi import Request, Response

from mull.errors import InvalidRequest
from mull.server.backend import Backend
from mull.server.body import read_as
from mull.server.callers import caller_of
from mull.server.feedback import Feedback
from mull.server.metrics import Metrics
from mull.server.reload import Reloader, ReloadRequest
from mull.server.reply import as_json
from mull.server.settings import Settings
from mull.server.traces import TraceStore, readable, stored


class Learning:
    """Feedback and reloading.

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

    async def feedback(self, request: Request) -> Response:
        """Keep what a user says of an answer."""
        store = stored(self._store, "feedback")
        given = await read_as(Feedback, request, self._settings.limits)
        if not self._settings.traces.text and (given.reference is not None or given.comment is not None):
            field = "reference" if given.reference is not None else "comment"
            raise InvalidRequest(
                f"{field}: this server keeps no text (traces.text is false); right and rating are kept",
                param=field,
            )
        row = await readable(store, given.trace_id, caller_of(request))
        if given.node is not None and given.node >= row["nodes"]:
            raise InvalidRequest(
                f"node must be an integer from 0 to {row['nodes'] - 1}: the trace has no node {given.node}",
                param="node",
            )
        new = await store.call(lambda: store.add_feedback(given))
        return as_json({"object": "ttc.feedback", "trace_id": given.trace_id, "new": new})

    async def reload(self, name: str, request: Request) -> Response:
        """Put another version of a verifier in the place of the present one."""
        self._backend.check_started()
        asked = await read_as(ReloadRequest, request, self._settings.limits)
        return as_json(await self._reloader.reload(name, asked))
