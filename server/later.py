"""Work that is worth doing only while its client is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from mull.server.reply import as_json, while_connected


class Later(Response):
    """Does some work while it is being sent, and stops when the client goes away.

    Args:
        work: Gives the body; what it raises is answered with its own status.
    """

    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        super().__init__()
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer as an ASGI application."""

        async def answer() -> None:
            await as_json(await self._work())(scope, receive, send)

        await while_connected(receive, answer())
