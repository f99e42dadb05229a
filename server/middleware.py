"""What every request gets: an id, a line in the log, and never a bare crash."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mull.errors import MullError, Unavailable
from mull.server.errors import headers_of
from mull.server.logs import Serving
from mull.server.messages.errors import body_for
from mull.server.metrics import Metrics
from mull.server.reply import as_json

log = logging.getLogger(__name__)

SOUND_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
"""Ids from clients that may go into logs and headers; others are replaced."""


class RequestLog:
    """ASGI middleware: honours `x-request-id`, logs the outcome (never bodies or keys), answers crashes.

    Args:
        app: What it is about.
        metrics: Where crashes are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if SOUND_ID.fullmatch(given) else uuid.uuid4().hex
        started, status = time.monotonic(), 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        with Serving(name):
            try:
                await self._app(scope, receive, named)
            except asyncio.CancelledError:
                if not status:
                    error = Unavailable("the server is shutting down", code="shutting_down")
                    await self._answer(error, scope, receive, named)
                raise
            except Exception:
                log.exception("the request failed")
                if not status:
                    await self._answer(MullError("internal error"), scope, receive, named)
            finally:
                # Without a status the client was gone before there was an answer.
                seconds = time.monotonic() - started
                quiet = scope["path"] in ("/health", "/ready", "/metrics")
                log.log(
                    logging.DEBUG if quiet else logging.INFO,
                    "%s %s %s %.3fs",
                    scope["method"],
                    quote(scope["path"]),  # a line of the log stays a line
                    status or "disconnected",
                    seconds,
                )

    async def _answer(self, error: MullError, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.fail(error)
        response = as_json(body_for(scope["path"], error), status=error.status, headers=headers_of(error))
        await response(scope, receive, send)
