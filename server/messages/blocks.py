"""The blocks of a conversation in Anthropic's Messages API, and the messages that they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field

from mull.server.schemas import Strict


class Block(Strict):
    """A part of a message's content."""

    cache_control: Any = Field(None, description="Harmless: engines cache every prefix.")


class Text(Block):
    """Text."""

    type: Literal["text"]
    text: str
    citations: Any = None


class Base64Source(Strict):
    """An image as it is."""

    type: Literal["base64"]
    media_type: str
    data: str

    @property
    def address(self) -> str:
        """Where the image is."""
        return f"data:{self.media_type};base64,{self.data}"


class UrlSource(Strict):
    """An image elsewhere."""

    type: Literal["url"]
    url: str = Field(min_length=1)

    @property
    def address(self) -> str:
        """Where the image is."""
        return self.url


class Image(Block):
    """An image."""

    type: Literal["image"]
    source: Annotated[Base64Source | UrlSource, Discriminator("type")]


class ToolUse(Block):
    """A model's call of a tool."""

    type: Literal["tool_use"]
    id: str = Field(min_length=1, max_length=256)
    name: str = Field(min_length=1, max_length=128)
    input: dict[str, Any]
    caller: Any = None


class Thoughts(Block):
    """What a model thought before it answered."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


def _listed(*kinds: str) -> BeforeValidator:
    """Content as a list of blocks; those that cannot be understood are named."""

    def listed(value: Any) -> Any:
        if isinstance(value, str):
            return [{"type": "text", "text": value}]
        if not isinstance(value, list):
            raise ValueError("must be a string or a list of blocks")
        for i, block in enumerate(value):
            kind = block.get("type") if isinstance(block, dict) else block
            if kind not in kinds:
                raise ValueError(f"block {i} is {kind!r:.40}; only {', '.join(kinds)} are understood")
        return [{name: each for name, each in block.items() if each is not None} for block in value]

    return BeforeValidator(listed)


class ToolResult(Block):
    """What a tool gave back; that it failed is for its content to say."""

    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1, max_length=256)
    content: Annotated[list[Annotated[Text | Image, Discriminator("type")]], _listed("text", "image")] = (
        Field(default_factory=list)
    )
    is_error: bool = False


Texts = Annotated[list[Text], _listed("text")]
Blocks = Annotated[
    list[Annotated[Text | Image | ToolUse | ToolResult | Thoughts, Discriminator("type")]],
    _listed("text", "image", "tool_use", "tool_result", "thinking"),
]


class Turn(Strict):
    """One message of the conversation."""

    role: Literal["user", "assistant"]
    content: Blocks


def as_messages(turn: Turn) -> list[dict[str, Any]]:
    """A turn as messages of a chat: results of tools are messages of their own, before the rest."""
    results: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    said: list[Text | Image] = []
    thoughts = ""
    for block in turn.content:
        match block:
            case ToolResult():
                content = _content(block.content)
                results.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": content})
            case ToolUse():
                function = {"name": block.name, "arguments": json.dumps(block.input)}
                calls.append({"id": block.id, "type": "function", "function": function})
            case Thoughts():
                thoughts += block.thinking
            case _:
                said.append(block)
    message: dict[str, Any] = {"role": turn.role}
    if said or not (calls or results):
        whole = turn.role == "assistant" and not any(isinstance(block, Image) for block in said)
        message["content"] = text_of(said) if whole else _content(said)
    message |= {"reasoning": thoughts} if thoughts else {}
    message |= {"tool_calls": calls} if calls else {}
    return [*results, message] if len(message) > 1 else results


def text_of(blocks: Sequence[Text | Image]) -> str:
    """The text in blocks."""
    return "".join(block.text for block in blocks if isinstance(block, Text))


def _content(blocks: Sequence[Text | Image]) -> Any:
    if not blocks or (len(blocks) == 1 and isinstance(blocks[0], Text)):
        return text_of(blocks)
    return [
        {"type": "image_url", "image_url": {"url": block.source.address}}
        if isinstance(block, Image)
        else {"type": "text", "text": block.text}
        for block in blocks
    ]
