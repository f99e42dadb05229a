"""A request that the server sends to itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Scope

from mull.server.callers import STATE, Caller


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What was answered."""

    status: int
    body: bytes


async def ask(app: ASGIApp, path: str, body: bytes, *, caller: Caller, name: str) -> Answered:
    """POST a JSON body to a route of this server, as a client would; cancelling it is going away.

    Args:
        app: The server.
        path: The route.
        body: What to send.
        caller: In whose name.
        name: The request's id, which logs show.
    """
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", name.encode()),
        ],
        "client": None,
        "server": None,
        "state": {STATE: caller},
    }
    status, answer, sent = 0, bytearray(), False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # the client stays until it has its answer
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            answer.extend(message.get("body", b""))

    await app(scope, receive, send)
    return Answered(status=status, body=bytes(answer))
