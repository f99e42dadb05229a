"""Running the application."""

from __future__ import annotations

import logging

import uvicorn

from mull.server.app import create_app
from mull.server.settings import Settings


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. The port is bound at once; `/ready` tells when the models are up.

    Returns:
        The exit status: 1 when the port is taken or a model could not be started.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
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
        timeout_graceful_shutdown=settings.drain,
        server_header=False,
    )
    server = uvicorn.Server(config)
    server.run()
    return 1 if failed or not server.started else 0
