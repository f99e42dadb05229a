"""Reading request bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from mull.errors import InvalidRequest
from mull.server.errors import invalid
from mull.server.schemas import read_object
from mull.server.settings import MaxLimits

T = TypeVar("T", bound=BaseModel)

BODY_SECONDS = 60.0
"""Seconds in which a JSON body has to come."""
PAUSE_SECONDS = 30.0
"""Seconds without anything after which an upload is given up."""


class TooLarge(InvalidRequest):
    """The request's body is larger than the configuration allows."""

    status = 413
    code = "request_too_large"


class TooSlow(InvalidRequest):
    """The request's body does not come."""

    status = 408
    code = "request_timeout"


class WrongMediaType(InvalidRequest):
    """The body is not sent as JSON."""

    status = 415
    code = "unsupported_media_type"


async def read(request: Request, limits: MaxLimits) -> bytes:
    """The request's body.

    Raises:
        WrongMediaType: it is not JSON. Browsers send anything else across sites without asking.
        TooLarge: it is larger than allowed.
        TooSlow: it takes too long to come.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise WrongMediaType("send the body as Content-Type: application/json")
    most, body = limits.request_bytes, bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise TooLarge(f"the body is larger than the allowed {most} bytes")
    except TimeoutError:
        raise TooSlow(f"the body did not come within {BODY_SECONDS:g} seconds") from None
    return bytes(body)


async def in_time(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A large body, piece by piece.

    Raises:
        TooSlow: nothing comes for too long.
    """
    while True:
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                part = await anext(parts, None)
        except TimeoutError:
            raise TooSlow(f"nothing of the body came for {PAUSE_SECONDS:g} seconds") from None
        if part is None:
            return
        yield part


async def read_data(request: Request, limits: MaxLimits) -> dict[str, Any]:
    """The request's body as plain data, decoded off the event loop.

    Raises:
        InvalidRequest: it is no JSON object, or larger or deeper than allowed.
    """
    return await asyncio.to_thread(read_object, await read(request, limits), nesting=limits.nesting)


async def read_as(model: type[T], request: Request, limits: MaxLimits) -> T:
    """The request's body as `model`; a null counts as absent.

    Raises:
        InvalidRequest: naming the first field that is wrong and what it allows.
    """
    data = await read_data(request, limits)
    given = {name: value for name, value in data.items() if value is not None}
    try:
        return await asyncio.to_thread(model.model_validate, given)
    except ValidationError as error:
        raise invalid(error, model) from None
