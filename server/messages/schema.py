"""The body of POST /v1/messages: Anthropic's fields and `ttc`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, ValidationError

from mull.errors import InvalidRequest
from mull.server.admission import Refused, admitted
from mull.server.errors import invalid
from mull.server.schemas import TTC, ChatRequest, Strict, check

REFUSED: Refused = {
    "container": ((), "no code is run here"),
    "context_management": ((), "a conversation is used whole"),
    "mcp_servers": (([],), "only the client runs tools"),
    "service_tier": (("auto", "standard_only"), "there is one service tier"),
}
LABELS = ("metadata", "cache_control")


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


class Thinking(Strict):
    """How long to think; `budget_tokens` stands for a reasoning effort."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(None, ge=1)
    display: Literal["summarized", "omitted"] | None = None

    @property
    def effort(self) -> str | None:
        """The reasoning effort of a budget: low below 4096 tokens, medium below 16384, else high."""
        if self.type != "enabled" or self.budget_tokens is None:
            return None
        return "low" if self.budget_tokens < 4096 else "medium" if self.budget_tokens < 16384 else "high"


class OutputConfig(Strict):
    """How hard to try."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class Tool(Strict):
    """A function that the client runs."""

    name: str = Field(min_length=1)
    description: str | None = None
    input_schema: dict[str, Any]
    type: Literal["custom"] = "custom"
    cache_control: dict[str, Any] | None = None


class ToolChoice(Strict):
    """Which tools may be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class MessagesRequest(Strict):
    """A request for a message."""

    model: str = Field(min_length=1, max_length=256)
    messages: list[Turn] = Field(min_length=1)
    max_tokens: int = Field(ge=1, le=2**31)
    system: Texts | None = None
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = Field(None, max_length=16)
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1, le=2**31)
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    stream: bool = False
    ttc: TTC | None = None

    @property
    def effort(self) -> str | None:
        """The reasoning effort that the request names, one way or the other."""
        named = None if self.output_config is None else self.output_config.effort
        thought = None if self.thinking is None else self.thinking.effort
        return "xhigh" if named == "max" else named or thought

    def as_chat(self) -> ChatRequest:
        """The request as one for a chat completion.

        Raises:
            InvalidRequest: naming the field by its name here.
        """
        same = {"model", "temperature", "top_p", "top_k", "stream", "ttc"}
        given = self.model_dump(exclude_none=True, include=same)
        system = [] if self.system is None else [{"role": "system", "content": _text(self.system)}]
        given["messages"] = [*system, *(each for turn in self.messages for each in _messages(turn))]
        given["max_completion_tokens"] = self.max_tokens
        given |= {} if self.stop_sequences is None else {"stop": self.stop_sequences}
        given |= {} if self.effort is None else {"reasoning_effort": self.effort}
        if self.tools:
            given["tools"] = [_tool(tool) for tool in self.tools]
        if self.tool_choice is not None:
            given |= _tool_choice(self.tool_choice)
        try:
            chat = ChatRequest.model_validate(given)
            check(chat)
        except ValidationError as error:
            raise renamed(invalid(error, ChatRequest), self) from None
        except InvalidRequest as error:
            raise renamed(error, self) from None
        return chat


def parse(data: Mapping[str, Any]) -> tuple[MessagesRequest, ChatRequest]:
    """A request body as a request, and as one for a chat completion.

    Raises:
        InvalidRequest: naming the first field that is wrong and what it allows.
    """
    request = admitted(data, MessagesRequest, refused=REFUSED, harmless=LABELS)
    if request.ttc is not None and request.ttc.progress not in (False, "nodes"):
        raise InvalidRequest(
            "ttc.progress: a message has no place for a text about the search; ask for 'nodes'",
            param="ttc.progress",
        )
    return request, request.as_chat()


def renamed(error: InvalidRequest, asked: MessagesRequest) -> InvalidRequest:
    """An error about a chat completion, with the fields called what they are called here."""
    tried = asked.output_config is not None and asked.output_config.effort is not None
    names = {
        "reasoning_effort": "output_config.effort" if tried else "thinking",
        "max_completion_tokens": "max_tokens",
        "stop": "stop_sequences",
    }
    if error.param in names:
        error.message = error.message.replace(error.param, names[error.param])
        error.param = names[error.param]
    return error


def _messages(turn: Turn) -> list[dict[str, Any]]:
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
        message["content"] = _text(said) if whole else _content(said)
    message |= {"reasoning": thoughts} if thoughts else {}
    message |= {"tool_calls": calls} if calls else {}
    return [*results, message] if len(message) > 1 else results


def _text(blocks: Sequence[Text | Image]) -> str:
    return "".join(block.text for block in blocks if isinstance(block, Text))


def _content(blocks: Sequence[Text | Image]) -> Any:
    if not blocks or (len(blocks) == 1 and isinstance(blocks[0], Text)):
        return _text(blocks)
    return [
        {"type": "image_url", "image_url": {"url": block.source.address}}
        if isinstance(block, Image)
        else {"type": "text", "text": block.text}
        for block in blocks
    ]


def _tool(tool: Tool) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    return {
        "type": "function",
        "function": {"name": tool.name, **described, "parameters": tool.input_schema},
    }


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    named = {"type": "function", "function": {"name": choice.name}}
    kinds = {"auto": "auto", "any": "required", "none": "none", "tool": named}
    return {"tool_choice": kinds[choice.type], "parallel_tool_calls": not choice.disable_parallel_tool_use}
