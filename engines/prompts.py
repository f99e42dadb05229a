"""What engines refuse before they generate."""

from __future__ import annotations

from collections.abc import Mapping

from mull.errors import InvalidRequest, Unsupported
from mull.types import Chat


def text_only(chat: Chat) -> None:
    """Raise `Unsupported` if a message has parts other than text."""
    for i, message in enumerate(chat.messages):
        content = message.get("content")
        parts = content if isinstance(content, list | tuple) else ()
        kinds = {part.get("type") if isinstance(part, Mapping) else type(part).__name__ for part in parts}
        for kind in sorted(map(str, kinds - {"text"})):
            raise Unsupported(
                f"content of type {kind!r} is not supported, only 'text'", param=f"messages[{i}]"
            )


def too_long(tokens: int | str, context: int) -> InvalidRequest:
    """The error for a prompt that leaves no room for an answer, worded as OpenAI's."""
    return InvalidRequest(
        f"This model's maximum context length is {context} tokens. However, your messages resulted in "
        f"{tokens} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )
