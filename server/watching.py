"""A search as server-sent events, while it runs or replayed from its trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from mull.errors import Unavailable
from mull.server import sse
from mull.server.errors import body_of
from mull.server.live import Running
from mull.server.record import begun, node_without_text, record
from mull.server.reply import while_connected

TOGETHER = 32
"""Nodes written in one go before other requests get their turn."""


class Watch(Response):
    """Sends events as they come, for as long as there is somebody to send them to."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as an ASGI application."""
        await send({"type": "http.response.start", "status": 200, "headers": sse.HEADERS})
        try:
            await while_connected(receive, self._send(send))
        except asyncio.CancelledError:
            error = Unavailable("the server is shutting down", code="shutting_down")
            await send({"type": "http.response.body", "body": _event("error", body_of(error))})
            raise

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for data in events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def watch(running: Running, *, text: bool, heartbeat: float) -> AsyncGenerator[bytes, None]:
    """A search while it runs: the request, its nodes so far, each that is new or changes, and the end.

    Args:
        running: The request.
        text: Whether to tell what was written, by the user and by the model.
        heartbeat: Seconds of silence before a sign of life.
    """
    with running.watch() as watcher:
        so_far = await asyncio.to_thread(record, running.so_far(), text=text)
        yield _event("trace", begun(so_far))
        served = None
        while served is None:
            try:
                # Not `wait_for`: that of Python 3.11 loses a cancellation that comes together with news.
                async with asyncio.timeout(heartbeat):
                    changed, served = await watcher.news()
            except TimeoutError:
                yield sse.HEARTBEAT
                continue
            for first in range(0, len(changed), TOGETHER):
                nodes = [node.to_dict() for node in changed[first : first + TOGETHER]]
                yield _nodes(nodes if text else [node_without_text(node) for node in nodes])
                await asyncio.sleep(0)
    # Outside: nothing more can come, and writing a large trace takes its time.
    yield await asyncio.to_thread(lambda: _event("end", _whole(record(served, text=text))))


async def replay(
    trace: Mapping[str, Any], *, speed: float | None, heartbeat: float
) -> AsyncGenerator[bytes, None]:
    """A finished search told again.

    Args:
        trace: The request as it was kept.
        speed: How many times as fast as it was; None: all at once.
        heartbeat: Seconds of silence before a sign of life.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    yield _event("trace", begun(trace))
    nodes = sorted(trace["nodes"], key=lambda node: node["ended"])
    for first in range(0, len(nodes), TOGETHER if speed is None else 1):
        part = nodes[first : first + (TOGETHER if speed is None else 1)]
        if speed is not None:
            async for sign in _until(started + part[0]["ended"] / speed, heartbeat):
                yield sign
        yield _nodes(part)
        await asyncio.sleep(0)
    if speed is not None:
        async for sign in _until(started + trace["seconds"] / speed, heartbeat):
            yield sign
    yield await asyncio.to_thread(lambda: _event("end", _whole(trace)))


async def _until(moment: float, heartbeat: float) -> AsyncGenerator[bytes, None]:
    """Wait for a moment of the loop's clock, with signs of life."""
    clock = asyncio.get_running_loop().time
    while (left := moment - clock()) > 0:
        await asyncio.sleep(min(left, heartbeat))
        if left > heartbeat:
            yield sse.HEARTBEAT


def _whole(trace: Mapping[str, Any]) -> dict[str, Any]:
    return {"object": "ttc.trace", "feedback": [], **trace}


def _nodes(nodes: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(_event("node", node) for node in nodes)


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (
        name.encode(),
        to_json(data, inf_nan_mode="null", fallback=str),
    )
