"""Sending an answer, for as long as there is somebody to send it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from fastapi import Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from mull.errors import Unavailable
from mull.server import sse
from mull.server.events import Event, Failed, Solving
from mull.server.service import Job, Service, Solved


def as_json(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response; what JSON cannot say (infinite, not a number) becomes null."""
    content = to_json(body, inf_nan_mode="null", fallback=str)
    return Response(content, status, dict(headers or {}), media_type="application/json")


class Format(Protocol):
    """How one request is answered."""

    nodes: bool
    """Whether a stream tells the nodes of the search."""
    last: bytes
    """The end of every stream."""

    def whole(self, solved: Solved) -> Mapping[str, Any]:
        """The answer as one JSON object."""
        ...

    def first(self) -> bytes:
        """What opens the stream, before anything is known."""
        ...

    def tell(self, event: Event) -> Iterator[bytes]:
        """One event of the stream."""
        ...


class Telling(Protocol):
    """What is being solved, and tells how it goes: see `Solving`."""

    async def begin(self) -> None:
        """Wait until the request is known to be sound."""
        ...

    def events(self) -> AsyncGenerator[Any, None]:
        """All there is to tell, as the format understands it."""
        ...

    async def close(self) -> None:
        """Stop what has not ended."""
        ...


class Reply(Response):
    """Solves a job while it is being sent, and stops when the client goes away.

    Errors found before the first byte is sent are raised, to be answered with their own status.

    Args:
        service: What solves the job.
        job: What to solve.
        form: How to answer.
        stream: Whether to answer as server-sent events.
        heartbeat: Seconds of silence in a stream before a sign of life.
    """

    def __init__(self, service: Service, job: Job, form: Format, *, stream: bool, heartbeat: float) -> None:
        super().__init__()
        self._service = service
        self._job = job
        self._form = form
        self._stream = stream
        self._heartbeat = heartbeat
        self._streaming = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer as an ASGI application."""
        work = self._send_stream(send) if self._stream else self._send_whole(scope, receive, send)
        try:
            await while_connected(receive, work)
        except asyncio.CancelledError:
            # The server stops: whoever reads a stream is told; the middleware tells the others.
            if self._streaming:
                error = Unavailable("the server is shutting down", code="shutting_down")
                body = b"".join(self._form.tell(Failed(error=error))) + self._form.last
                await send({"type": "http.response.body", "body": body})
            raise

    async def _send_whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        await as_json(await self._whole())(scope, receive, send)

    async def _whole(self) -> Mapping[str, Any]:
        return self._form.whole(await self._service.solve(self._job))

    def _solving(self) -> Telling:
        return Solving(self._service, self._job, heartbeat=self._heartbeat, nodes=self._form.nodes)

    async def _send_stream(self, send: Send) -> None:
        solving = self._solving()
        try:
            await solving.begin()
            await send({"type": "http.response.start", "status": 200, "headers": sse.HEADERS})
            self._streaming = True
            await self._send_part(send, self._form.first())
            async with aclosing(solving.events()) as events:
                async for event in events:
                    for data in self._form.tell(event):
                        await self._send_part(send, data)
            await self._send_part(send, self._form.last)
            self._streaming = False
            await send({"type": "http.response.body", "body": b""})
        finally:
            await solving.close()

    @staticmethod
    async def _send_part(send: Send, data: bytes) -> None:
        if data:
            await send({"type": "http.response.body", "body": data, "more_body": True})


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
