"""Server-sent events, as OpenAI's clients read them."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

HEARTBEAT = b": searching\n\n"
"""A comment: clients ignore it, proxies see that the connection lives."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
"""Of a response that is a stream: nobody on its way keeps or collects it."""

DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any], *, name: str | None = None) -> bytes:
    """One event with JSON data; some formats name theirs."""
    named = b"" if name is None else b"event: " + name.encode() + b"\n"
    return named + b"data: " + to_json(data, inf_nan_mode="null") + b"\n\n"
