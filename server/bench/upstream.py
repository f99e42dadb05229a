"""The server that is measured: which model it serves first, and its refusals told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI

from mull.server.exits import NO_SERVER, Failure, no_server


class Refused(Failure):
    """The server answers, but not to this run's requests; others may fare better."""


async def served_model(client: AsyncOpenAI) -> str:
    """The server's first model.

    Raises:
        Failure: no server answers, or it refuses.
    """
    with refusals(client):
        cards = (await client.with_options(max_retries=0).models.list()).data
    if not cards:
        raise Failure(f"{client.base_url} serves no model")
    return cards[0].id


@contextmanager
def refusals(client: AsyncOpenAI, prefix: str = "") -> Iterator[None]:
    """The SDK's errors as failures in one line.

    Raises:
        Refused: the server answers, and refuses.
        Failure: anything else.
    """
    try:
        yield
    except APIConnectionError as error:
        raise no_server(str(client.base_url), str(error.__cause__ or error).lower()) from None
    except APIStatusError as error:
        if error.code == "not_ready":
            raise Failure(f"{prefix}{_message(error)}", NO_SERVER) from None
        raise Refused(f"{prefix}{_message(error)}") from None
    except APIError as error:
        raise Failure(f"{prefix}{error.message}") from None


def _message(error: APIStatusError) -> str:
    """What the server says, without the SDK's wrapping."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message) if message else f"the server answered {error.status_code}; its URL ends in /v1"
