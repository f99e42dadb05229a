"""Ending a server so that nothing that it does is lost."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from mull.server.batches.part import BatchPart
from mull.server.errors import headers_of
from mull.server.live import RunningRequests
from mull.server.messages.errors import body_for
from mull.server.queueing.admission import Admission
from mull.server.queueing.errors import ShuttingDown
from mull.server.reply import as_json

log = logging.getLogger(__name__)

WIND_UP = 5.0
"""Seconds in which a search that is told to end has to give the best that it has."""


class Drain:
    """Takes nothing new, and waits for what runs.

    Args:
        admission: Who is let in.
        live: What runs.
        batches: Batches, which stop at once: what was under way is done again after the next start.
        seconds: How long running requests may go on.
    """

    def __init__(
        self, admission: Admission, live: RunningRequests, batches: BatchPart | None, *, seconds: float
    ) -> None:
        self.begun = False
        self._admission = admission
        self._live = live
        self._batches = batches
        self._seconds = seconds

    async def run(self) -> None:
        """Return when nothing runs any more, or has not ended although it was told to."""
        self.begun = True
        log.info("shutting down: %d requests are running", self._live.total)
        await self._admission.close()
        if self._batches is not None:
            await self._batches.pause()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._admission.idle(), self._seconds)
            return
        log.info("shutting down: %d requests end with the best they have", self._live.total)
        self._live.halt()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._admission.idle(), WIND_UP)


class Closing:
    """ASGI middleware: once a server drains, all that would begin something is refused.

    Args:
        app: What is asked otherwise.
        drain: Knows whether it does.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not self._drain.begun or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        error = ShuttingDown()
        # The next request of this client should find another server.
        headers = headers_of(error) | {"Connection": "close"}
        response = as_json(body_for(scope["path"], error), status=error.status, headers=headers)
        await response(scope, receive, send)
