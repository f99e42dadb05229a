"""The body of POST /v1/chat/completions: OpenAI's fields, vLLM's sampling fields, and `ttc`.

Every field is honoured, harmless, or refused by name; none is dropped silently. A null counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import from_json

from mull.answers import KINDS
from mull.errors import InvalidRequest, one_of
from mull.form import Form, Style
from mull.server.admission import admitted
from mull.server.conversation import Message as Message
from mull.server.refused import HARMLESS as HARMLESS
from mull.server.refused import REFUSED as REFUSED
from mull.server.strict import Strict as Strict
from mull.server.tools import LONGEST_SCHEMA, ResponseFormat, Schema, Tool, chosen, schemas_of
from mull.types import Chat, Sampling, Task

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
Include = Literal["candidates", "trace"]

RESERVED = (
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "messages",
    "tokenize",
    "tools",
)
"""What `chat_template_kwargs` may not set: these are fields of the request, or none of its business."""


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False
    continuous_usage_stats: Literal[False] = False


class BudgetRequest(Strict):
    """What the request may spend at most."""

    tokens: int | None = Field(
        None, ge=1, description="Generated tokens, hidden and cancelled ones included."
    )
    seconds: float | None = Field(None, gt=0, description="Wall-clock time.")
    samples: int | None = Field(None, ge=1, description="Generations started.")


class TTC(BaseModel):
    """How to spend test-time compute. The strategy's own parameters stand beside these fields."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    strategy: str | None = None
    verifier: str | None = None
    budget: BudgetRequest | None = None
    include: list[Include] = Field(default_factory=list)
    answer: str = Field("auto", json_schema_extra={"enum": list(KINDS)}, description="How answers are read.")
    reference: str | None = None
    progress: bool | Literal["text", "nodes"] = Field(
        False,
        description="In a stream, tell the search: as `delta.reasoning` (true or text), or node by node.",
    )

    @field_validator("answer")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"must be {one_of(KINDS)}, not {kind!r:.60}")
        return kind

    @property
    def parameters(self) -> dict[str, Any]:
        """The strategy's own fields, not validated yet."""
        return dict(self.model_extra or {})


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Token = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(gt=0, le=1)]


class StructuredOutputs(Strict):
    """vLLM's own constraints on a text; exactly one."""

    json_: Schema | str | None = Field(None, alias="json")
    regex: str | None = Field(None, max_length=LONGEST_SCHEMA)
    choice: list[str] | None = Field(None, min_length=1, max_length=1024)
    grammar: str | None = Field(None, max_length=LONGEST_SCHEMA)
    json_object: Literal[True] | None = None
    structural_tag: str | None = Field(None, max_length=LONGEST_SCHEMA)

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"give exactly one of {one_of(self.model_json_schema()['properties'])}")
        return self


class EngineFields(Strict):
    """vLLM's sampling fields (OpenAI's penalties among them), passed on to the engine as they are."""

    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    min_tokens: int | None = Field(None, ge=0, le=2**31)
    ignore_eos: bool | None = None
    stop_token_ids: list[Token] | None = Field(None, max_length=128)
    allowed_token_ids: list[Token] | None = Field(None, min_length=1)
    bad_words: list[Annotated[str, Field(min_length=1)]] | None = Field(None, max_length=128)
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    thinking_token_budget: int | None = Field(None, ge=-1, le=2**31)
    structured_outputs: StructuredOutputs | None = None

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        for key in bias or {}:
            if not (key.isascii() and key.isdigit() and len(key) < 10):
                raise ValueError(f"{key!r:.40} is not a token id")
        return bias

    def extra(self) -> dict[str, Any]:
        """The fields that were given."""
        given = self.model_dump(exclude_none=True, by_alias=True, include=set(EngineFields.model_fields))
        if self.logit_bias is not None:
            given["logit_bias"] = {int(token): bias for token, bias in self.logit_bias.items()}
        return given


class ChatRequest(EngineFields):
    """A request for a chat completion."""

    model: str = Field(min_length=1, max_length=256)
    messages: list[Message] = Field(min_length=1, max_length=4096)
    ttc: TTC | None = None
    reasoning_effort: Effort | None = None
    n: int = Field(1, ge=1, le=1024)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: Probability | None = None
    top_k: int | None = Field(None, ge=-1, le=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    stop: Annotated[list[Annotated[str, Field(min_length=1)]] | None, BeforeValidator(_listed)] = Field(
        None, max_length=16
    )
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    stream: bool = False
    stream_options: StreamOptions | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    tools: list[Tool] = Field(default_factory=list, max_length=128)
    tool_choice: Annotated[Any, AfterValidator(chosen)] = "auto"
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    include_reasoning: bool = True
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None

    def task(self, style: Style | None = None) -> Task:
        """What is to be solved by a model that writes in a style."""
        ttc = self.ttc or TTC()
        given = {
            "add_generation_prompt": self.add_generation_prompt,
            "continue_final_message": self.continue_final_message or None,
        }
        return Task(
            chat=Chat(
                messages=tuple(message.to_dict() for message in self.messages),
                tools=tuple(tool.to_dict() for tool in self._shown_tools),
                template={
                    **(self.chat_template_kwargs or {}),
                    **{name: value for name, value in given.items() if value is not None},
                },
            ),
            sampling=Sampling(
                max_tokens=self.max_completion_tokens or self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                min_p=self.min_p,
                stop=tuple(self.stop or ()),
                seed=self.seed,
                logprobs=(self.top_logprobs or 0) if self.logprobs else None,
                extra=self.extra(),
                form=self._form(style or Style()),
            ),
            n=self.n,
            answer=ttc.answer,
            reference=ttc.reference,
        )

    @property
    def _shown_tools(self) -> list[Tool]:
        return [] if self.tool_choice == "none" else self.tools

    def _form(self, style: Style) -> Form:
        """What the answer is made of, and has to be."""
        thoughts, kwargs = style.thoughts, self.chat_template_kwargs or {}
        if thoughts is not None and not kwargs.get("enable_thinking", kwargs.get("thinking", True)):
            # Templates that know these arguments do not open a thought then.
            thoughts = replace(thoughts, opened=False)
        choice = self.tool_choice
        return Form(
            thoughts=thoughts,
            style=style.calls,
            tools=schemas_of(self._shown_tools),
            call=choice["name"] if isinstance(choice, dict) else choice == "required",
            parallel=self.parallel_tool_calls,
            json=None if self.response_format is None else self.response_format.json_form(),
            begun=str(self.messages[-1].content) if self.continue_final_message else "",
        )


def parse(body: bytes, *, nesting: int) -> ChatRequest:
    """Read a request body.

    Raises:
        InvalidRequest: naming the first field that is wrong and what it allows.
    """
    data = read_object(body, nesting=nesting)
    request = admitted(_without_nulls(data), ChatRequest, refused=REFUSED, harmless=HARMLESS)
    check(request)
    return request


def read_object(body: bytes, *, nesting: int) -> dict[str, Any]:
    """A request body as plain data.

    Raises:
        InvalidRequest: it is no JSON object, or nested too deeply.
    """
    try:
        # Refuses NaN, lone surrogates and invalid UTF-8 too, which would only fail further on.
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(data, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    if _depth(data) > nesting:
        raise InvalidRequest(f"the body is nested more than {nesting} levels deep", code="invalid_json")
    return data


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    """Nulls count as absent: at the top, in messages (as the SDK dumps them) and in `ttc`."""
    given = {name: value for name, value in data.items() if value is not None}
    if isinstance(messages := given.get("messages"), list):
        given["messages"] = [
            {
                k: v
                for k, v in m.items()
                if v is not None and (k, v) not in (("annotations", []), ("tool_calls", []))
            }
            if isinstance(m, dict)
            else m
            for m in messages
        ]
    for name in ("ttc", "stream_options", "response_format", "structured_outputs"):
        if isinstance(value := given.get(name), dict):
            given[name] = {k: v for k, v in value.items() if v is not None}
    return given


def check_progress(ttc: TTC | None, *, stream: bool) -> None:
    """Only in a stream can the search be told while it runs.

    Raises:
        InvalidRequest: it shall be told, and there is no stream.
    """
    if ttc is not None and ttc.progress and not stream:
        raise InvalidRequest("ttc.progress: only allowed together with stream: true", param="ttc.progress")


def only_nodes(ttc: TTC | None, of: str) -> None:
    """The search can be told by its nodes only, in the stream of what is asked for.

    Raises:
        InvalidRequest: it shall be told as a text.
    """
    if ttc is not None and ttc.progress not in (False, "nodes"):
        raise InvalidRequest(
            f"ttc.progress: {of} has no place for a text about the search; ask for 'nodes'",
            param="ttc.progress",
        )


def check(request: ChatRequest) -> None:
    """What only several fields together make wrong.

    Raises:
        InvalidRequest: naming one of them.
    """

    def wrong(param: str, message: str) -> InvalidRequest:
        return InvalidRequest(f"{param}: {message}", param=param)

    limits = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise wrong("max_completion_tokens", "max_tokens is given with another value; give one of them")
    if request.top_logprobs and not request.logprobs:
        raise wrong("top_logprobs", "only allowed together with logprobs: true")
    if request.stream_options is not None and not request.stream:
        raise wrong("stream_options", "only allowed together with stream: true")
    if request.min_tokens is not None and limits and request.min_tokens > max(filter(None, limits)):
        raise wrong("min_tokens", "must not be above max_tokens")
    check_progress(request.ttc, stream=request.stream)
    for i, message in enumerate(request.messages):
        if (fault := message.fault()) is not None:
            raise wrong(f"messages[{i}].{fault[0]}", fault[1])
    for name in request.chat_template_kwargs or ():
        if name in RESERVED:
            raise wrong(f"chat_template_kwargs.{name}", f"cannot be set here; {one_of(RESERVED)} cannot")
    _check_tools(request, wrong)
    _check_turn(request, wrong)


def _check_tools(request: ChatRequest, wrong: Callable[[str, str], InvalidRequest]) -> None:
    names = [tool.function.name for tool in request.tools]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise wrong("tools", f"two have the name {double!r}")
    choice = request.tool_choice
    if choice == "required" and not names:
        raise wrong("tool_choice", "'required' needs tools; give them, or 'none' or 'auto'")
    if isinstance(choice, dict) and choice["name"] not in names:
        raise wrong("tool_choice", f"there is no tool {choice['name']!r:.80}; there are {one_of(names)}")
    form = request.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is None:
        raise wrong("response_format.json_schema", "is required with type 'json_schema'")
    if form is not None and form.type != "json_schema" and form.json_schema is not None:
        raise wrong("response_format.json_schema", "only goes with type 'json_schema'")
    demands = form is not None and form.type != "text"
    if demands and choice not in ("none", "auto"):
        raise wrong("response_format", "cannot be demanded together with a tool call (tool_choice)")
    if request.structured_outputs is not None and (demands or names):
        raise wrong("structured_outputs", "cannot be combined with response_format or tools")


def _check_turn(request: ChatRequest, wrong: Callable[[str, str], InvalidRequest]) -> None:
    if not request.continue_final_message:
        return
    if request.add_generation_prompt is not False:
        raise wrong("continue_final_message", "needs add_generation_prompt: false")
    last = request.messages[-1]
    if last.role != "assistant" or not last.content:
        raise wrong("continue_final_message", "the last message must be one of role 'assistant' with text")
    demands = request.response_format is not None and request.response_format.type != "text"
    if demands or request.tools:
        raise wrong("continue_final_message", "cannot be combined with tools or a response_format")


def _depth(data: Any) -> int:
    """How deep lists and objects are nested."""
    level, depth = [data], 0
    while level := [
        inner
        for outer in level
        if isinstance(outer, (dict, list))
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
    return depth
