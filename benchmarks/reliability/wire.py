"""Connections without an HTTP library: to leave, to dawdle, to be rude."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from benchmarks.reliability.servers import Server

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(server: Server) -> Connection:
    """A connection to a server."""
    parts = urlsplit(server.url)
    return await asyncio.open_connection(parts.hostname, parts.port)


def request(asked: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    body = json.dumps(asked).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        "Host: mull",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n", body


async def send(server: Server, asked: Mapping[str, Any]) -> Connection:
    """Send a request, and read nothing."""
    reader, writer = await connect(server)
    writer.write(b"".join(request(asked)))
    await writer.drain()
    return reader, writer


def leave(connection: Connection) -> None:
    """Go away without a word."""
    connection[1].transport.abort()


async def dropped(connection: Connection, seconds: float) -> bytes | None:
    """What a server said before it closed a connection; None where it did not in time."""
    try:
        async with asyncio.timeout(seconds):
            with suppress(ConnectionError):
                return await connection[0].read(-1)
    except TimeoutError:
        return None
    return b""
