"""Every line of a request's log names the request."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from starlette.types import Message, Receive, Scope, Send

from mull.errors import EngineUnavailable
from mull.server.logs import JsonFormatter, TextFormatter
from mull.server.metrics import Metrics
from mull.server.middleware import RequestLog

if TYPE_CHECKING:
    from tests.server.conftest import Start

Lines = Callable[[], list[str]]


class Kept(logging.Handler):
    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(params=[JsonFormatter, TextFormatter])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    handler, root = Kept(request.param()), logging.getLogger("mull")
    level = root.level
    root.addHandler(handler)
    root.setLevel("DEBUG")
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def ids(kept: Kept) -> list[str | None]:
    if isinstance(kept.formatter, JsonFormatter):
        return [json.loads(line).get("request") for line in kept.lines]
    found = [re.search(r" \S+ \[([^\]]+)\]: ", line) for line in kept.lines]
    return [None if each is None else each[1] for each in found]


def test_the_lines_of_a_request_carry_the_id_that_the_client_chose(start: Start, kept: Kept) -> None:
    with start() as live:
        live.script.fail = RuntimeError("broken")
        kept.lines.clear()
        body = {"model": "mull-tiny", "messages": [{"role": "user", "content": "secret words"}]}
        done = live.http.post("/v1/chat/completions", json=body, headers={"x-request-id": "client:1"})
        assert done.status_code == 500
        streamed = live.http.post(
            "/v1/chat/completions", json=body | {"stream": True}, headers={"x-request-id": "client:2"}
        )
        live.script.fail = EngineUnavailable("gone")
        other = live.http.post("/v1/chat/completions", json=body)
    assert streamed.headers["x-request-id"] == "client:2"
    named = ids(kept)
    # A crash and an outcome each, and the outcome of the last.
    assert named.count("client:1") == 2
    assert named.count("client:2") == 2
    assert named.count(other.headers["x-request-id"]) == 1
    assert not any("secret words" in line for line in kept.lines)


def test_lines_of_no_request_carry_none(start: Start, kept: Kept) -> None:
    with start():
        pass
    assert kept.lines
    assert set(ids(kept)) == {None}


def test_a_path_cannot_forge_a_line(start: Start, kept: Kept) -> None:
    with start() as live:
        kept.lines.clear()
        live.http.get("/v1/x%0A2026 INFO mull: all is well")
    assert not any("\n" in line for line in kept.lines)
    assert any("/v1/x%0A2026" in line for line in kept.lines)


async def test_what_outlives_a_request_carries_its_id_no_longer(kept: Kept) -> None:
    over, tasks = asyncio.Event(), []

    async def lasting() -> None:
        logging.getLogger("mull.lasting").info("during")
        await over.wait()
        logging.getLogger("mull.lasting").info("after")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tasks.append(asyncio.create_task(lasting()))
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def nothing(message: Message | None = None) -> Message:
        return {}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"x-request-id", b"mine")]}
    await RequestLog(app, Metrics())(scope, nothing, nothing)  # type: ignore[arg-type]
    over.set()
    await tasks[0]
    assert ids(kept) == ["mine", "mine", None]
