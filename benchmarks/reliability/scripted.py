"""A server over a scripted model that takes its time, in a process of its own."""

from __future__ import annotations

import argparse
import asyncio

import uvicorn
from prometheus_client import Gauge

from mull.server import logs
from mull.server.app import create_app
from mull.server.network import Timely
from mull.server.serve import SENDING, Server
from mull.server.settings import load
from mull.testing import ScriptedGenerator, ScriptedVerifier, World

TURN = 0.02
"""Seconds of a turn: a sample takes a few of them."""
IN_FLIGHT = Gauge("mull_scripted_in_flight", "Requests in the scripted model.")


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    settings = load(
        None,
        host="127.0.0.1",
        port=options.port,
        models={"mull-tiny": {"url": "http://unused"}},
        verifiers={"solver": {"kind": "orm", "model": "unused"}},
        defaults={"verifiers": {"outcome": "solver", "process": "solver"}},
    )
    logs.configure("info", as_json=False)
    model = ScriptedGenerator(World(depth=4), model="mull-tiny", order=0, pause=lambda: asyncio.sleep(TURN))
    IN_FLIGHT.set_function(lambda: model.in_flight)
    judge = ScriptedVerifier(
        lambda text, ended: text.count("1") / max(1, len(text)), name="solver", kind="process"
    )
    app = create_app(settings, generators={"mull-tiny": model}, verifiers={"solver": judge})
    config = uvicorn.Config(
        app, host="127.0.0.1", port=options.port, loop="uvloop", ws="none", http=Timely,
        log_config=None, access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=SENDING,
    )  # fmt: skip
    Server(config, app.state.drain).run()


if __name__ == "__main__":
    main()
