"""Clients that dawdle are dropped in the end, whatever they send."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from mull.server import network
from mull.server.app import create_app
from mull.server.settings import load
from mull.testing import ScriptedGenerator, World

PATH = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
WAIT = 20.0


@contextmanager
def serving(app: Any) -> Iterator[int]:
    """Serve as `mull serve` does; gives the port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none", http=network.Timely)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(network, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr("mull.server.body.BODY_SECONDS", 0.3)
    settings = load(None, models={"m": {"url": "http://unused"}}, api_keys=["right"])
    with serving(create_app(settings, generators={"m": ScriptedGenerator(World())}, verifiers={})) as port:
        yield port


HEADS = {
    "too slow": (b"Authorization: Bearer right\r\nContent-Type: application/json\r\n\r\n", b"408"),
    "without a key": (b"Content-Type: application/json\r\n\r\n", b"401"),
    "another type": (b"Authorization: Bearer right\r\nContent-Type: text/plain\r\n\r\n", b"415"),
}


@pytest.mark.parametrize(("rest", "status"), HEADS.values(), ids=HEADS)
def test_a_body_that_trickles_on_after_its_answer(port: int, rest: bytes, status: bytes) -> None:
    """The answer has come long ago; more of the body does not keep the connection."""
    got, deadline = b"", time.monotonic() + WAIT
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(PATH + rest)
        client.settimeout(0.05)
        while True:
            assert time.monotonic() < deadline, "the connection is kept"
            try:
                client.sendall(b"x")
                data = client.recv(1000)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not data:
                break
            got += data
    assert got.startswith(b"HTTP/1.1 " + status)


def test_who_sends_the_rest_keeps_the_connection(port: int) -> None:
    body = b"x" * 1000
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(WAIT)
        for _ in range(3):
            client.sendall(head + body[:10])
            assert client.recv(10_000).startswith(b"HTTP/1.1 401"), "answered before the body is there"
            client.sendall(body[10:])
