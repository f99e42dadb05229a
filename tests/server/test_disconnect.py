"""A client that goes away takes its whole search with it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Start

ASK: Any = [{"role": "user", "content": "What is one plus one?"}]


def until(condition: Callable[[], bool]) -> bool:
    """Wait for something that happens in another thread; False after some seconds."""
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def send(url: str, body: dict[str, Any]) -> socket.socket:
    """Send a request and leave its connection open."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))
    content = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + content)
    return connection


def received(connection: socket.socket) -> bytes:
    """All that still comes over a connection, which is closed then."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("strategy", ["single", "majority_vote", "beam_search"])
def test_nothing_is_left_in_flight(start: Start, stream: bool, strategy: str) -> None:
    # The heartbeat is slow: the disconnect itself must be noticed, not a failing write.
    with start(heartbeat=60) as live:
        live.script.hold.clear()
        body = {"model": "mull-tiny", "messages": ASK, "stream": stream, "ttc": {"strategy": strategy}}
        connection = send(live.url, body)
        assert until(lambda: live.script.in_flight > 0)
        connection.close()
        assert until(lambda: live.script.in_flight == 0)
        live.script.hold.set()
        counted = f'mull_requests_total{{model="mull-tiny",status="499",strategy="{strategy}"}} 1.0'
        assert until(lambda: counted in live.http.get("/metrics").text)
        assert 'mull_running{model="mull-tiny"} 0.0' in live.http.get("/metrics").text


def test_others_are_not_disturbed(start: Start) -> None:
    with start() as live:
        live.script.hold.clear()
        body = {"model": "mull-tiny", "messages": ASK}
        leaving, staying = send(live.url, body), send(live.url, body)
        assert until(lambda: live.script.in_flight == 2)
        leaving.close()
        assert until(lambda: live.script.in_flight == 1)
        live.script.hold.set()
        assert staying.recv(65536).startswith(b"HTTP/1.1 200")
        staying.close()


def test_a_stopping_server_says_so(start: Start) -> None:
    with start() as live:
        live.script.hold.clear()
        connection = send(live.url, {"model": "mull-tiny", "messages": ASK})
        assert until(lambda: live.script.in_flight == 1)
    assert b"503" in received(connection).splitlines()[0]
    assert live.script.in_flight == 0


def test_a_stopping_server_ends_its_streams(start: Start) -> None:
    with start() as live:
        live.script.hold.clear()
        connection = send(live.url, {"model": "mull-tiny", "messages": ASK, "stream": True})
        assert until(lambda: live.script.in_flight == 1)
    text = received(connection)
    assert b"200" in text.splitlines()[0]
    assert text.count(b'"code":"shutting_down"') == text.count(b"[DONE]") == 1
    assert live.script.in_flight == 0
