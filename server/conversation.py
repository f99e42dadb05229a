"""The messages of a request."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from mull.server.strict import Strict

PLAIN_URL = re.compile(r"https?://[\w.-]+(:\d{1,5})?(/[^\s\\@]*)?", re.ASCII)
IMAGE_DETAILS = ("auto", "low", "high")


class CalledFunction(Strict):
    """Which function was called, and how."""

    name: str = Field(min_length=1, max_length=128)
    arguments: str

    @field_validator("arguments")
    @classmethod
    def _object(cls, arguments: str) -> str:
        try:
            sound = isinstance(json.loads(arguments or "{}"), dict)
        except (ValueError, RecursionError):
            sound = False
        if not sound:
            raise ValueError("must be a JSON object, written as a string")
        return arguments or "{}"


class CalledTool(Strict):
    """A tool call of an earlier turn."""

    id: str = Field(min_length=1, max_length=256)
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Field(None, exclude=True)


class Message(Strict):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = None
    name: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[CalledTool] | None = Field(None, max_length=128)
    tool_call_id: str | None = Field(None, max_length=256)

    @field_validator("content")
    @classmethod
    def _parts(cls, content: Any) -> Any:
        """Text as one string; a list only where there are images in it."""
        if isinstance(content, str):
            return content
        if not isinstance(content, list) or not content:
            raise ValueError("must be a string or a non-empty list of parts")
        parts = [_part(i, part) for i, part in enumerate(content)]
        if any(part["type"] != "text" for part in parts):
            return parts
        return "\n".join(part["text"] for part in parts)

    @property
    def has_images(self) -> bool:
        """Whether it shows images."""
        return isinstance(self.content, list)

    @property
    def images(self) -> list[str]:
        """The URLs of its images."""
        parts = self.content if isinstance(self.content, list) else []
        return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]

    def to_dict(self) -> dict[str, Any]:
        """The message as chat templates expect it."""
        message = self.model_dump(exclude_none=True, exclude={"refusal"})
        # Few templates of open models know the newer name of the system role.
        return message | {"role": "system"} if self.role == "developer" else message

    def fault(self) -> tuple[str, str] | None:
        """The field that is wrong for the role, and why; None where all is well."""
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            return "content", "must be a string or a non-empty list of parts"
        if self.has_images and self.role != "user":
            return "content", f"images are for messages of role 'user', not {self.role!r}"
        if self.tool_calls and self.role != "assistant":
            return "tool_calls", f"only messages of role 'assistant' have tool calls, not {self.role!r}"
        if (self.tool_call_id is None) == (self.role == "tool"):
            why = "is required for" if self.role == "tool" else "is only for"
            return "tool_call_id", f"{why} messages of role 'tool'"
        return None


def fetchable(url: str, hosts: Collection[str]) -> bool:
    """Whether an image may be shown to an engine: it is in the URL itself, or of one of these hosts."""
    if url.startswith("data:"):
        return True
    # What parsers disagree about (whose host is this?) is not looked at any further.
    if not PLAIN_URL.fullmatch(url):
        return False
    return urlsplit(url).hostname in hosts


def _part(i: int, part: Any) -> dict[str, Any]:
    """One part of a message's content.

    Raises:
        ValueError: it is neither text nor an image.
    """
    kind = part.get("type") if isinstance(part, dict) else part
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        detail = image.get("detail") if isinstance(image, dict) else None
        if isinstance(url, str) and url and (detail is None or detail in IMAGE_DETAILS):
            found = {"url": url} if detail is None else {"url": url, "detail": detail}
            return {"type": "image_url", "image_url": found}
    raise ValueError(
        f'part {i} is {kind!r:.40}; understood are {{"type": "text", "text": "..."}} and, where the model '
        'takes images, {"type": "image_url", "image_url": {"url": "..."}}'
    )
