"""What protects the server at its edge: TLS, origins, host names, headers for browsers, and slow clients."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any

import h11
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mull.server.settings import Settings, TLSSettings

log = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""Seconds in which the head of a request has to come, and the rest of one that has been answered."""
SHOWN = ("x-request-id", "retry-after")
"""Headers of answers that scripts of other origins may read."""
SENT = ("authorization", "content-type", "x-api-key", "x-request-id", "anthropic-version")
"""Headers of requests that scripts of other origins may send, beside those that any may."""


class Timely(H11Protocol):
    """HTTP for clients that take their time: a connection is closed on which no request comes to its end."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """An answer has been sent; perhaps before all of the request had come."""
        super().on_response_complete()
        if self.conn.our_state is h11.DONE:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Begin to wait for the rest of a head, or of what is answered, or end it; nothing prolongs it."""
        if self.conn.their_state is not h11.IDLE and self.conn.our_state is not h11.DONE:
            self._unwatch()
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class SafeHeaders:
    """ASGI middleware: browsers take no answer for something else, and keep none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("referrer-policy", "no-referrer")
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, safe if scope["type"] == "http" else send)


def protect(app: FastAPI, settings: Settings) -> None:
    """Let an application answer only those whom the configuration allows."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=SENT,
            expose_headers=SHOWN,
        )
    if settings.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts, www_redirect=False)
    app.add_middleware(SafeHeaders)


def tls(settings: TLSSettings | None) -> dict[str, Any]:
    """Uvicorn's options for TLS."""
    if settings is None:
        return {}
    return {
        "ssl_certfile": settings.certificate,
        "ssl_keyfile": settings.key,
        "ssl_ca_certs": settings.client_ca,
        "ssl_cert_reqs": ssl.CERT_NONE if settings.client_ca is None else ssl.CERT_REQUIRED,
    }
