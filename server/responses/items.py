"""The items of a conversation in the Responses API, and the messages that they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field

from mull.server.schemas import Strict

Status = Literal["in_progress", "completed", "incomplete"]


class InputText(Strict):
    """Text that somebody wrote."""

    type: Literal["input_text"]
    text: str


class OutputText(Strict):
    """Text that a model wrote."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] = Field(default_factory=list)
    logprobs: list[Any] = Field(default_factory=list)


class Refusal(Strict):
    """What a model said instead of an answer."""

    type: Literal["refusal"]
    refusal: str


class InputImage(Strict):
    """An image."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high"] = "auto"


class Thought(Strict):
    """Text of a model's reasoning."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


PARTS = ("input_text", "output_text", "refusal", "input_image")


def _parts(value: Any) -> Any:
    """Content as a list of parts; those that cannot be understood are named."""
    if isinstance(value, str):
        return [{"type": "input_text", "text": value}]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of parts")
    for i, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else part
        if kind not in PARTS:
            raise ValueError(f"part {i} is {kind!r:.40}; only {', '.join(PARTS)} are understood")
    return [_given(part) for part in value]


def _given(value: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if each is not None}


Parts = Annotated[
    list[Annotated[InputText | OutputText | Refusal | InputImage, Discriminator("type")]],
    BeforeValidator(_parts),
]


class MessageItem(Strict):
    """A message."""

    type: Literal["message"]
    role: Literal["system", "developer", "user", "assistant"]
    content: Parts
    id: str | None = None
    status: Status | None = None
    phase: str | None = None


class FunctionCall(Strict):
    """A model's call of a tool."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: str
    id: str | None = None
    status: Status | None = None


class FunctionCallOutput(Strict):
    """What a tool gave back."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: Parts
    id: str | None = None
    status: Status | None = None


class ReasoningItem(Strict):
    """What a model thought before it answered."""

    type: Literal["reasoning"]
    summary: list[Thought] = Field(default_factory=list)
    content: list[Thought] = Field(default_factory=list)
    encrypted_content: str | None = None
    id: str | None = None
    status: Status | None = None


ITEMS = ("message", "function_call", "function_call_output", "reasoning")


def _items(value: Any) -> Any:
    """Input as a list of items; those that cannot be understood are named."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of items")
    found = []
    for i, item in enumerate(value):
        kind = item.get("type", "message") if isinstance(item, dict) else item
        if kind not in ITEMS:
            raise ValueError(f"item {i} is {kind!r:.40}; only {', '.join(ITEMS)} are understood")
        found.append({"type": kind, **_given(item)})
    return found


Item = MessageItem | FunctionCall | FunctionCallOutput | ReasoningItem
Items = Annotated[list[Annotated[Item, Discriminator("type")]], BeforeValidator(_items)]


def as_messages(items: Iterable[Item]) -> list[dict[str, Any]]:
    """The items as messages of a chat: what a model thought, said and called in one turn is one message."""
    messages: list[dict[str, Any]] = []
    turn: dict[str, Any] = {}

    def end_turn() -> None:
        if turn:
            messages.append(
                {"role": "assistant", **({} if "tool_calls" in turn else {"content": ""}), **turn}
            )
            turn.clear()

    for item in items:
        match item:
            case ReasoningItem():
                if turn:
                    end_turn()
                turn["reasoning"] = "".join(thought.text for thought in item.content or item.summary)
            case MessageItem(role="assistant"):
                if "content" in turn or "tool_calls" in turn:
                    end_turn()
                images = any(isinstance(part, InputImage) for part in item.content)
                turn["content"] = _content(item.content) if images else _text(item.content)
            case FunctionCall():
                function = {"name": item.name, "arguments": item.arguments}
                call = {"id": item.call_id, "type": "function", "function": function}
                turn["tool_calls"] = [*turn.get("tool_calls", ()), call]
            case FunctionCallOutput():
                end_turn()
                said = {"tool_call_id": item.call_id, "content": _content(item.output)}
                messages.append({"role": "tool", **said})
            case MessageItem():
                end_turn()
                messages.append({"role": item.role, "content": _content(item.content)})
    end_turn()
    return messages


def _content(parts: list[Any]) -> Any:
    """The content of a message: its text, or parts where there are several or images."""
    if all(isinstance(part, OutputText | Refusal) for part in parts) or len(parts) == 1:
        image = parts[0] if parts and isinstance(parts[0], InputImage) else None
        return _text(parts) if image is None else [_part(image)]
    return [_part(part) for part in parts]


def _text(parts: list[Any]) -> str:
    return "".join(part.refusal if isinstance(part, Refusal) else part.text for part in parts)


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, InputImage):
        return {"type": "image_url", "image_url": {"url": part.image_url, "detail": part.detail}}
    return {"type": "text", "text": _text([part])}
