"""Running the application."""

from __future__ import annotations

import logging
import signal

import uvicorn

from mull.server import logs
from mull.server.app import create_app
from mull.server.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, *, json_logs: bool = False) -> int:
    """Serve until SIGTERM or SIGINT. The port is bound at once; `/ready` tells when the models are up.

    Args:
        settings: The configuration.
        json_logs: Whether to log as JSON Lines.

    Returns:
        The exit status: 1 when the port is taken or something could not be started.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    if json_logs:
        logs.as_json()
    failed = False

    def stop() -> None:
        nonlocal failed
        failed, server.should_exit = True, True

    config = uvicorn.Config(
        create_app(settings, on_failure=stop),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        # Longer than clients and proxies keep idle connections: they, not we, close them.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.drain,
        server_header=False,
    )
    server = uvicorn.Server(config)
    # Before anything is loaded: a port that is taken is known at once.
    try:
        socket = config.bind_socket()
    except SystemExit:  # uvicorn has logged why
        return 1
    host, port = socket.getsockname()[:2]
    # uvicorn raises the signal that stopped it once more; by then everything has been shut down.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    log.info("listening on http://%s:%d, loading %s", host, port, ", ".join(settings.models))
    server.run(sockets=[socket])
    return 1 if failed else 0
