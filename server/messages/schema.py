"""The body of POST /v1/messages: Anthropic's fields and `ttc`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from mull.errors import InvalidRequest
from mull.server.admission import Refused, admitted
from mull.server.errors import invalid
from mull.server.messages.blocks import Texts, Turn, as_messages, text_of
from mull.server.schemas import TTC, ChatRequest, Strict, check, only_nodes

REFUSED: Refused = {
    "container": ((), "no code is run here"),
    "context_management": ((), "a conversation is used whole"),
    "mcp_servers": (([],), "only the client runs tools"),
    "service_tier": (("auto", "standard_only"), "there is one service tier"),
}
LABELS = ("metadata", "cache_control")


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
        system = [] if self.system is None else [{"role": "system", "content": text_of(self.system)}]
        given["messages"] = [*system, *(each for turn in self.messages for each in as_messages(turn))]
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
    only_nodes(request.ttc, "a message")
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
