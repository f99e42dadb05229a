"""Sending an answer, for as long as there is somebody to send it to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from mull.errors import Unavailable
from mull.server import render, sse
from mull.server.errors import body_of
from mull.server.schemas import TTC, ChatRequest
from mull.server.service import Job, Service
from mull.server.stream import Stream


def as_json(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response; what JSON cannot say (infinite, not a number) becomes null."""
    content = to_json(body, inf_nan_mode="null", fallback=str)
    return Response(content, status, dict(headers or {}), media_type="application/json")


class Reply(Response):
    """Solves a job while it is being sent, and stops when the client goes away.

    Errors found before the first byte is sent are raised, to be answered with their own status.
    """

    def __init__(self, service: Service, job: Job, asked: ChatRequest, *, heartbeat: float) -> None:
        super().__init__()
        self._service = service
        self._job = job
        self._asked = asked
        self._ttc = asked.ttc or TTC()
        self._heartbeat = heartbeat
        self._streaming = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer as an ASGI application."""
        work = self._stream(send) if self._asked.stream else self._whole(scope, receive, send)
        try:
            await while_connected(receive, work)
        except asyncio.CancelledError:
            # The server stops: whoever reads a stream is told; the middleware tells the others.
            if self._streaming:
                error = Unavailable("the server is shutting down", code="shutting_down")
                body = sse.event(body_of(error)) + sse.DONE
                await send({"type": "http.response.body", "body": body})
            raise

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        solved = await self._service.solve(self._job)
        response = as_json(render.completion(self._job, solved, self._ttc.include))
        await response(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        options = self._asked.stream_options
        stream = Stream(
            self._service,
            self._job,
            heartbeat=self._heartbeat,
            include=self._ttc.include,
            progress=self._ttc.progress,
            include_usage=options is not None and options.include_usage,
        )
        try:
            await stream.begin()
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            self._streaming = True
            async with aclosing(stream.events()) as events:
                async for data in events:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            self._streaming = False
            await send({"type": "http.response.body", "body": b""})
        finally:
            await stream.close()


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; if the client disconnects first, cancel it and wait until it has ended."""
    working = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
