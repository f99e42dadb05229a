"""HTTP to an OpenAI-compatible server: one session for life, errors told apart, nothing trusted."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp

from mull.errors import EngineUnavailable, InvalidRequest, MullError

CALLERS_FAULT = (400, 413, 422)
"""Statuses that blame the request. Others (no access, no such model, too busy) are between the servers."""

TOO_MANY = 429

KEEP_ALIVE = 3.0
"""Seconds that an idle connection is kept: fewer than the 5 after which uvicorn closes it."""

MOST_BYTES = 2**26
"""Of one JSON object; whoever sends more does not mean to end."""

MOST_STREAMED = 2**30
"""Of all events of one answer."""

LONGEST = 2000
"""Characters of a refusal that are passed on."""


class Busy(EngineUnavailable):
    """The server lives, and wants to be asked later."""


class Connection:
    """Calls to one server.

    Args:
        root: Address without `/v1`.
        subject: What to call the server in errors: its address stays here.
        api_key: Sent as a bearer token, to this server only: redirects are not followed.
        timeout: Seconds without an answer, or the next part of one, after which it counts as down.
    """

    def __init__(self, root: str, *, subject: str, api_key: str | None, timeout: float) -> None:
        self._root = root
        self._subject = subject
        self._timeout = timeout
        self._opened: aiohttp.ClientSession | None = None
        self._closed = False

        # The key is nowhere but in what is sent.
        def start() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
                headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
                timeout=aiohttp.ClientTimeout(total=None),
            )

        self._start = start

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = self._start()
        return self._opened

    async def close(self) -> None:
        """Drop all connections; no more are made."""
        self._closed = True
        if self._opened is not None:
            await self._opened.close()

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path; an empty one for an empty body.

        Raises:
            EngineUnavailable: the server does not answer, or not as it should.
        """
        return await self._whole("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a body.

        Raises:
            InvalidRequest: the server blames the body.
            EngineUnavailable: it does not answer, or not as it should.
        """
        return await self._whole("POST", path, body)

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The server-sent events that answer a body, until the server ends; closing drops the connection.

        Raises:
            InvalidRequest: the server blames the body.
            EngineUnavailable: it does not answer, or not as it should.
        """
        rest, size = b"", 0
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._open("POST", path, body)
            async with response:
                while True:
                    async with asyncio.timeout_at(deadline):
                        data = await response.content.readany()
                    if not data:
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    size += len(data)
                    if len(rest) > MOST_BYTES or size > MOST_STREAMED:
                        raise self._failed("its answer does not end")
                    for line in lines:
                        if not line.startswith(b"data:"):
                            continue
                        event = line[5:].strip()
                        if event == b"[DONE]":
                            return
                        yield self._object(event)
                        deadline = loop.time() + self._timeout
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._failed(_reason(error)) from error

    async def _whole(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._timeout), await self._open(method, path, body) as response:
                data = await self._body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._failed(_reason(error)) from error
        return self._object(data) if data else {}

    async def _open(self, method: str, path: str, body: Mapping[str, Any] | None) -> aiohttp.ClientResponse:
        """The response, once its headers are there and say that all is well."""
        try:
            response = await self._request(method, path, body)
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientConnectionError:
            # The server closed a kept connection just then; it has not begun with the request.
            response = await self._request(method, path, body)
        if response.status == 200:
            return response
        async with response:
            refusal = self._refusal(response.status, await self._body(response))
            if isinstance(refusal, EngineUnavailable):
                refusal.retry_after = _seconds(response.headers.get("Retry-After"), refusal.retry_after)
            raise refusal

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> aiohttp.ClientResponse:
        if self._closed:
            raise self._failed("no connection to it is left")
        return await self._session.request(
            method,
            self._root + path,
            # A file is sent in parts, so that a large one does not hold up the event loop.
            data=None if body is None else io.BytesIO(json.dumps(body).encode()),
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        )

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        while data := await response.content.readany():
            parts.append(data)
            size += len(data)
            if size > MOST_BYTES:
                raise self._failed("its answer does not end")
        return b"".join(parts)

    def _object(self, data: bytes) -> dict[str, Any]:
        """A JSON object that is no error."""
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._failed("its answer is not JSON") from error
        if not isinstance(found, dict):
            raise self._failed("its answer is not a JSON object")
        if refused := found.get("error"):
            # Too late for a status: vLLM says it in the event.
            status = refused.get("code") if isinstance(refused, Mapping) else None
            raise self._refusal(status if isinstance(status, int) else 500, data)
        return found

    def _refusal(self, status: int, body: bytes) -> MullError:
        """A status and OpenAI's error object as ours."""
        if status == TOO_MANY:
            return Busy(f"{self._subject} failed: it answered {status}")
        if status not in CALLERS_FAULT:
            return self._failed(f"it answered {status}")
        try:
            error = json.loads(body)["error"]
            message, param, code = str(error["message"])[:LONGEST], error.get("param"), error.get("code")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return InvalidRequest(f"{self._subject} refused the request ({status})")
        return InvalidRequest(
            message,
            param=param[:LONGEST] if isinstance(param, str) else None,
            code=code[:100] if isinstance(code, str) else None,
        )

    def _failed(self, reason: str) -> EngineUnavailable:
        return EngineUnavailable(f"{self._subject} failed: {reason}")


def _seconds(told: str | None, default: float) -> float:
    """Seconds of a Retry-After header."""
    try:
        return min(max(default, float(told or default)), 3600.0)
    except ValueError:
        return default


def _reason(error: BaseException) -> str:
    """Why a connection failed, without the address that some errors spell out."""
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({type(error.os_error).__name__})"
    return type(error).__name__
