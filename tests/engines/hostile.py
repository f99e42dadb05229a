"""A server that answers whatever bytes a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
"""The head of an answer that ends with its connection."""


class Hostile:
    """Lists a model, tokenizes, and answers everything else as a test says.

    Args:
        vllm: Whether it says that it is vLLM, which is spoken to in token ids.
    """

    def __init__(self, *, vllm: bool = False) -> None:
        self.model = {"id": "m", "owned_by": "vllm" if vllm else "someone", "max_model_len": 4096}
        self.answer: Answer = raw(b"")
        self.asked = 0
        """Requests that were answered as the test says."""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which is closed after one answer."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if sizes:
                await reader.readexactly(int(sizes[0].split(b":")[1]))
            elif b"chunked" in head.lower():
                await reader.readuntil(b"0\r\n\r\n")
            path = head.split(b" ")[1]
            if path == b"/v1/models":
                await whole({"data": [self.model]})(writer)
            elif path == b"/tokenize":
                await whole({"tokens": [1, 2, 3]})(writer)
            elif path == b"/detokenize":
                await whole({"prompt": ""})(writer)
            else:
                self.asked += 1
                await self.answer(writer)
        writer.close()


@asynccontextmanager
async def hostile(*, vllm: bool = False) -> AsyncIterator[Hostile]:
    """Serve it on a free port; what still answers in the end is cut off."""
    made = Hostile(vllm=vllm)
    open_now: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await made.handle(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            open_now.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tuple(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
        await server.wait_closed()


def raw(*parts: bytes) -> Answer:
    """These bytes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return answer


def whole(body: Any) -> Answer:
    """A JSON answer as it should be."""
    data = json.dumps(body).encode()
    return raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)


def stream(*events: bytes) -> Answer:
    """These server-sent events, and the end."""
    return raw(STREAM, *(b"data: " + event + b"\n\n" for event in events))


def endless(head: bytes, part: bytes, *, pause: float = 0.0) -> Answer:
    """The same again and again, until the client goes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


def reset(*parts: bytes) -> Answer:
    """These bytes, then a connection that is reset instead of closed."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await raw(*parts)(writer)
        # What was sent should have come before the reset does.
        await asyncio.sleep(0.05)
        writer.transport.abort()

    return answer


def as_json(events: Iterable[Any]) -> list[bytes]:
    """Events as bytes; what is bytes already stays."""
    return [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
