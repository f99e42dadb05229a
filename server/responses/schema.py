"""The body of POST /v1/responses: OpenAI's fields, vLLM's sampling fields, and `ttc`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from mull.errors import InvalidRequest
from mull.server.admission import Refused, admitted
from mull.server.errors import invalid
from mull.server.responses.items import Item, Items, as_messages
from mull.server.schemas import (
    HARMLESS,
    TTC,
    ChatRequest,
    Effort,
    EngineFields,
    Probability,
    Strict,
    check,
    check_progress,
    only_nodes,
)

REFUSED: Refused = {
    "background": ((False,), "responses are made while you wait"),
    "conversation": ((), "give previous_response_id, or the whole conversation as input"),
    "prompt": ((), "prompt templates are not kept here"),
    "service_tier": (("auto", "default"), "there is one service tier"),
    "context_management": (([],), "a conversation is used whole"),
    "moderation": ((), "nothing is moderated here"),
}

LABELS = (*HARMLESS, "prompt_cache_options", "max_tool_calls")
"""Fields that change nothing: labels, and limits on tools that this server does not have."""

INCLUDABLE = ("message.output_text.logprobs", "reasoning.encrypted_content")
"""The second is harmless: reasoning comes unencrypted anyway, in the item itself."""

RENAMED = (
    (r"^reasoning_effort", "reasoning.effort"),
    (r"^response_format(\.json_schema)?", "text.format"),
    (r"^max_completion_tokens", "max_output_tokens"),
    (r"^(tools\[\d+\])\.function", r"\1"),
    (r"^messages\[(\d+)\]", r"input (message \1 of the conversation)"),
    (r"^messages", "input"),
)
"""What fields of a chat completion are called here."""


class Reasoning(Strict):
    """How hard to think, and how to tell of it."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = Field(
        None, description="Tell the thoughts, unabridged, as a summary instead of as content."
    )
    generate_summary: Literal["auto", "concise", "detailed"] | None = None

    @property
    def summarised(self) -> bool:
        """Whether thoughts are told as a summary."""
        return (self.summary or self.generate_summary) is not None


class TextConfig(Strict):
    """What the answer has to look like."""

    format: dict[str, Any] = Field(default_factory=lambda: {"type": "text"})
    verbosity: Literal["medium"] = "medium"


class StreamOptions(Strict):
    """Nothing is obfuscated here."""

    include_obfuscation: bool = False


class ResponseRequest(EngineFields):
    """A request for a response."""

    model: str = Field(min_length=1, max_length=256)
    input: Items = Field(min_length=1)
    instructions: str | None = None
    previous_response_id: str | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    tools: list[dict[str, Any]] = Field(default_factory=list, max_length=128)
    tool_choice: Any = "auto"
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = Field(None, ge=1, le=2**31)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: Probability | None = None
    top_k: int | None = Field(None, ge=-1, le=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include: list[str] = Field(default_factory=list)
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    store: bool = True
    stream: bool = False
    stream_options: StreamOptions | None = None
    truncation: Literal["disabled"] = "disabled"
    chat_template_kwargs: dict[str, Any] | None = None
    ttc: TTC | None = None

    @field_validator("include")
    @classmethod
    def _includable(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in INCLUDABLE:
                raise ValueError(f"{name!r:.60} is not kept here; allowed: {', '.join(INCLUDABLE)}")
        return names

    @field_validator("tools")
    @classmethod
    def _functions(cls, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for i, tool in enumerate(tools):
            if tool.get("type") != "function":
                raise ValueError(f"tool {i} is {tool.get('type')!r:.60}; only 'function' is supported")
        return tools

    @field_validator("tool_choice")
    @classmethod
    def _choosable(cls, choice: Any) -> Any:
        kind = choice.get("type") if isinstance(choice, dict) else choice
        known = ("function",) if isinstance(choice, dict) else ("none", "auto", "required")
        if kind not in known:
            raise ValueError(
                f'{kind!r:.60} is not supported; give "none", "auto", "required" or '
                '{"type": "function", "name": "..."}'
            )
        return choice

    @property
    def logprobs(self) -> bool:
        """Whether log-probabilities are wanted."""
        return self.top_logprobs is not None or INCLUDABLE[0] in self.include

    def as_chat(self, before: Sequence[Item]) -> ChatRequest:
        """The request as one for a chat completion.

        Args:
            before: The conversation that it goes on with.

        Raises:
            InvalidRequest: naming the field by its name here.
        """
        system = [] if self.instructions is None else [{"role": "system", "content": self.instructions}]
        same = {*EngineFields.model_fields, "model", "ttc", "temperature", "top_p", "top_k", "min_p", "seed"}
        same |= {"stream", "chat_template_kwargs"}
        given = self.model_dump(exclude_none=True, include=same)
        given["messages"] = [*system, *as_messages([*before, *self.input])]
        if self.max_output_tokens is not None:
            given["max_completion_tokens"] = self.max_output_tokens
        if self.reasoning is not None and self.reasoning.effort is not None:
            given["reasoning_effort"] = self.reasoning.effort
        if self.logprobs:
            given |= {"logprobs": True, "top_logprobs": self.top_logprobs or 0}
        if self.text is not None and self.text.format != {"type": "text"}:
            given["response_format"] = _response_format(self.text.format)
        if self.tools:
            given["tools"] = [_tool(tool) for tool in self.tools]
            given["tool_choice"] = _tool_choice(self.tool_choice)
            given["parallel_tool_calls"] = self.parallel_tool_calls
        try:
            chat = ChatRequest.model_validate(given)
            check(chat)
        except ValidationError as error:
            raise renamed(invalid(error, ChatRequest)) from None
        except InvalidRequest as error:
            raise renamed(error) from None
        return chat


def parse(data: dict[str, Any]) -> ResponseRequest:
    """A request body as a request.

    Raises:
        InvalidRequest: naming the first field that is wrong and what it allows.
    """
    # Metadata is given back, so it is no mere label here.
    harmless = [name for name in LABELS if name != "metadata"]
    request = admitted(data, ResponseRequest, refused=REFUSED, harmless=harmless)

    def wrong(param: str, message: str) -> InvalidRequest:
        return InvalidRequest(f"{param}: {message}", param=param)

    if request.stream_options is not None and not request.stream:
        raise wrong("stream_options", "only allowed together with stream: true")
    if request.tool_choice != "auto" and request.tool_choice != "none" and not request.tools:
        raise wrong("tool_choice", "there are no tools to choose from")
    check_progress(request.ttc, stream=request.stream)
    only_nodes(request.ttc, "a response")
    return request


def renamed(error: InvalidRequest) -> InvalidRequest:
    """An error about a chat completion, with the fields called what they are called here."""
    for name, own in RENAMED:
        if error.param is not None and re.match(name, error.param):
            param = re.sub(name, own, error.param)
            error.message = error.message.replace(error.param, param)
            error.param = param.partition(" ")[0]
            break
    return error


def _response_format(form: Mapping[str, Any]) -> dict[str, Any]:
    kind = form.get("type")
    if kind != "json_schema":
        return dict(form)
    return {"type": kind, kind: {name: value for name, value in form.items() if name != "type"}}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    return {"type": "function", "function": {name: v for name, v in choice.items() if name != "type"}}
