"""The server's edge: TLS, origins, host names, slow and half-closed clients."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from mull.server import network
from mull.server.conversation import fetchable
from mull.server.settings import ConfigurationError, TLSSettings, load

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

QUESTION = [{"role": "user", "content": "What is one plus one?"}]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[int]:
    """Serve as `mull serve` does; gives the port."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, ws="none", http=network.Timely, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads a body and answers."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(network, "HEAD_SECONDS", 0.3)
    with serving(hello, lifespan="off") as port:
        yield port


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "], ids=["nothing", "half a head"])
def test_a_head_that_does_not_come_ends_the_connection(impatient: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as client:
        client.settimeout(20)
        client.sendall(head)
        assert client.recv(100) == b""


def test_dripping_does_not_prolong_it(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        client.settimeout(0.05)
        deadline = time.monotonic() + 20
        while True:
            assert time.monotonic() < deadline
            try:
                client.sendall(b"X-A: b\r\n")
                assert client.recv(100) == b""
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break


def test_a_body_and_the_next_request_may_take_longer(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as client:
        client.settimeout(20)
        for _ in range(2):
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
            time.sleep(0.5)
            client.sendall(b"b")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            time.sleep(0.5)


def test_a_head_has_an_end(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as client:
        client.settimeout(20)
        client.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 200_000)
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_a_body_that_stops_is_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mull.server.body.BODY_SECONDS", 0.1)
    with start() as live:
        parts = urlsplit(live.url)
        with socket.create_connection((parts.hostname, parts.port)) as client:
            client.settimeout(20)
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b'Content-Length: 500\r\n\r\n{"model":'
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 408")


def test_an_upload_that_stops_is_given_up(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("mull.server.body.PAUSE_SECONDS", 0.1)
    with start(batches={"dir": tmp_path}) as live:
        parts = urlsplit(live.url)
        with socket.create_connection((parts.hostname, parts.port)) as client:
            client.settimeout(20)
            client.sendall(
                b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                b"Content-Length: 500\r\n\r\n--b\r\n"
                b'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\nx'
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 408")
        assert live.http.get("/v1/files").json()["data"] == []
        assert not list((tmp_path / "files").iterdir())


def test_half_a_connection_is_none(start: Start) -> None:
    with start(heartbeat=60) as live:
        live.script.hold.clear()
        parts = urlsplit(live.url)
        body = b'{"model": "mull-tiny", "messages": [{"role": "user", "content": "What?"}]}'
        with socket.create_connection((parts.hostname, parts.port)) as client:
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            until(lambda: live.script.in_flight == 1)
            client.shutdown(socket.SHUT_WR)
            until(lambda: live.script.in_flight == 0)


def test_other_origins_are_shut_out_unless_named(start: Start) -> None:
    friend, stranger = "https://friend.example", "https://stranger.example"
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    def allowed(live: Live, origin: str) -> list[str | None]:
        before = live.http.options("/v1/chat/completions", headers={"Origin": origin} | asks)
        done = live.http.get("/health", headers={"Origin": origin})
        return [each.headers.get("access-control-allow-origin") for each in (before, done)]

    with start() as live:
        assert allowed(live, friend) == [None, None]
    with start(cors_origins=[friend]) as live:
        assert allowed(live, friend) == [friend, friend]
        assert allowed(live, stranger) == [None, None]


def test_host_names(start: Start) -> None:
    with start(hosts=["mull.example", "*.mull.example"]) as live:
        status = {
            host: live.http.get("/health", headers={"Host": host}).status_code
            for host in ("mull.example", "a.mull.example:8000", "evil.example", "mull.example.evil")
        }
    assert list(status.values()) == [200, 200, 400, 400]


@pytest.mark.parametrize(
    "fields", [{"cors_origins": ["example.org"]}, {"hosts": ["http://x"]}, {"tls": {"certificate": "/none"}}]
)
def test_wrong_settings_are_named(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(fields))):
        load(None, **fields)


def test_browsers_are_told_what_an_answer_is(live: Live) -> None:
    for path in ("/v1/models", "/nothing", "/ui/", "/metrics"):
        headers = live.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert live.http.get("/v1/models").headers["cache-control"] == "no-store"
    assert live.http.get("/docs").status_code == live.http.get("/redoc").status_code == 404


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("data:image/png;base64,AA==", True),
        ("https://pictures.example/a.png?b=c", True),
        ("http://pictures.example:8080/", True),
        ("https://pictures.example.evil/a", False),
        ("https://evil/pictures.example", False),
        ("https://pictures.example@evil/a", False),
        ("https://evil\\@pictures.example/a", False),
        ("https://evil#@pictures.example/", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("file:///etc/passwd", False),
        ("//pictures.example/a", False),
        ("https://[::1]/", False),
        (" https://pictures.example/", False),
    ],
)
def test_images_come_from_where_they_may(url: str, fine: bool) -> None:
    assert fetchable(url, ["pictures.example"]) is fine


def test_a_client_cannot_make_an_engine_fetch(start: Start) -> None:
    far = {"url": "http://127.0.0.1:9", "images": True}
    with start(models={"mull-tiny": far}) as live:
        part = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}
        refused = live.post(messages=[{"role": "user", "content": [part]}])
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "messages[0].content"
        assert live.script.calls == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server and a client that it certifies, and a stranger, by OpenSSL."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(("openssl", *arguments), cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    openssl(*new, "-keyout", "stranger.key", "-out", "stranger.pem", "-subj", "/CN=stranger")
    for name in ("server", "client"):
        openssl(
            *new, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-CA", "ca.pem",
            "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1", "-addext",
            "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
    return folder


def test_tls_and_certified_clients(certificates: Path) -> None:
    def get(port: int, certificate: str | None) -> int:
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        if certificate is not None:
            context.load_cert_chain(certificates / f"{certificate}.pem", certificates / f"{certificate}.key")
        with httpx.Client(verify=context) as client:
            return client.get(f"https://127.0.0.1:{port}/").status_code

    own = TLSSettings(certificate=certificates / "server.pem", key=certificates / "server.key")
    with serving(hello, lifespan="off", **network.tls(own)) as port:
        assert get(port, None) == 200
    mutual = own.model_copy(update={"client_ca": certificates / "ca.pem"})
    with serving(hello, lifespan="off", **network.tls(mutual)) as port:
        assert get(port, "client") == 200
        for certificate in (None, "stranger"):
            with pytest.raises(httpx.TransportError):
                get(port, certificate)
