"""What every request gets: an id, a line in the log, and never a bare crash."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mull.errors import MullError, Unavailable
from mull.server.errors import body_of, headers_of
from mull.server.reply import as_json

log = logging.getLogger(__name__)

SOUND_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
"""Ids from clients that may go into logs and headers; others are replaced."""


class RequestLog:
    """ASGI middleware: honours `x-request-id`, logs the outcome (never bodies or keys), answers crashes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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

        try:
            await self._app(scope, receive, named)
        except asyncio.CancelledError:
            if not status:
                await _answer(
                    Unavailable("the server is shutting down", code="shutting_down"), scope, receive, named
                )
            raise
        except Exception:
            log.exception("request %s failed", name)
            if not status:
                await _answer(MullError("internal error"), scope, receive, named)
        finally:
            # Without a status the client was gone before there was an answer.
            seconds = time.monotonic() - started
            quiet = scope["path"] in ("/health", "/ready", "/metrics")
            log.log(
                logging.DEBUG if quiet else logging.INFO,
                "%s %s %s %s %.3fs",
                name,
                scope["method"],
                scope["path"],
                status or "disconnected",
                seconds,
            )


async def _answer(error: MullError, scope: Scope, receive: Receive, send: Send) -> None:
    response = as_json(body_of(error), status=error.status, headers=headers_of(error))
    await response(scope, receive, send)
