"""Running the application."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn

from mull.server import logs
from mull.server.app import create_app
from mull.server.draining import Drain
from mull.server.network import Timely, tls
from mull.server.settings import Settings

log = logging.getLogger(__name__)

SENDING = 5
"""Seconds in which what was answered has to be sent, once nothing runs any more."""


class Server(uvicorn.Server):
    """A server that drains before it stops. A second signal stops it without that."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self._loop is None or self._drain.begun:
            super().handle_exit(sig, frame)
        else:
            self._loop.call_soon_threadsafe(self._begin, sig)

    def _begin(self, sig: int) -> None:
        async def drained() -> None:
            await self._drain.run()
            super(Server, self).handle_exit(sig, None)

        self._draining = asyncio.get_running_loop().create_task(drained())


def serve(settings: Settings, *, json_logs: bool = False) -> int:
    """Serve until SIGTERM or SIGINT. The port is bound at once; `/ready` tells when the models are up.

    Args:
        settings: The configuration.
        json_logs: Whether to log as JSON Lines.

    Returns:
        The exit status: 1 when the port is taken or something could not be started.
    """
    logs.configure(settings.log_level, as_json=json_logs)
    failed = False

    def stop() -> None:
        nonlocal failed
        failed, server.should_exit = True, True

    app = create_app(settings, on_failure=stop)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        ws="none",
        http=Timely,
        log_config=None,
        log_level="warning",
        access_log=False,
        # Longer than clients and proxies keep idle connections: they, not we, close them.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SENDING,
        server_header=False,
        **tls(settings.tls),
    )
    server = Server(config, app.state.drain)
    # Before anything is loaded: a port that is taken is known at once.
    try:
        listening = config.bind_socket()
    except SystemExit:  # uvicorn has logged why
        return 1
    host, port = listening.getsockname()[:2]
    # uvicorn raises the signal that stopped it once more; by then everything has been shut down.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    scheme = "http" if settings.tls is None else "https"
    log.info("listening on %s://%s:%d, loading %s", scheme, host, port, ", ".join(settings.models))
    server.run(sockets=[listening])
    return 1 if failed else 0
