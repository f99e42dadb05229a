"""What the images ask themselves: deploy/docker/health."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from mull.server import network
from mull.server.settings import TLSSettings


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Healthy, and not ready."""
    status = 200 if scope["path"] == "/health" else 503
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@contextmanager
def serving(tls: TLSSettings | None = None) -> Iterator[int]:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        ws="none",
        lifespan="off",
        http=network.Timely,
        **network.tls(tls),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "stranger"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    return folder


@pytest.fixture
def health(deploy: Path, certificates: Path) -> Any:
    def run(port: int, *path: str, shown: str | None = None) -> int:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MULL_")}
        if shown is not None:
            environment["MULL_PROBE_CERTIFICATE"] = str(certificates / f"{shown}.pem")
            environment["MULL_PROBE_KEY"] = str(certificates / f"{shown}.key")
        done = subprocess.run(
            [sys.executable, "-IS", str(deploy / "docker" / "health"), str(port), *path],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    return run


def test_in_the_clear(health: Any) -> None:
    with serving() as port:
        assert health(port) == 0
        assert health(port, "/ready") == 1


def test_nobody_is_there(health: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert health(port) == 1


def test_by_tls(health: Any, certificates: Path) -> None:
    own = TLSSettings(certificate=certificates / "server.pem", key=certificates / "server.key")
    with serving(own) as port:
        assert health(port) == 0
        assert health(port, "/ready") == 1


def test_where_clients_need_a_certificate(health: Any, certificates: Path) -> None:
    own = TLSSettings(
        certificate=certificates / "server.pem",
        key=certificates / "server.key",
        client_ca=certificates / "server.pem",
    )
    with serving(own) as port:
        assert health(port, shown="server") == 0
        assert health(port, "/ready", shown="server") == 1
        assert health(port) == 0, "it lives: it asks for a certificate"
        assert health(port, "/ready") == 1
        assert health(port, shown="stranger") == 1
