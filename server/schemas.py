"""The body of POST /v1/chat/completions: OpenAI's fields, vLLM's sampling fields, and `ttc`.

Every field is honoured, harmless, or refused by name; none is dropped silently. A null counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import from_json

from mull.answers import KINDS
from mull.errors import InvalidRequest, one_of
from mull.server.errors import invalid
from mull.types import Chat, Sampling, Task

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
Include = Literal["candidates", "trace"]

TEXT_ONLY = "this server only generates text"
NO_TOOLS = "tool calling is not supported"
REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "tools": (([],), NO_TOOLS),
    "tool_choice": (("none", "auto"), NO_TOOLS),
    "functions": (([],), NO_TOOLS),
    "function_call": (("none", "auto"), NO_TOOLS),
    "parallel_tool_calls": ((True, False), NO_TOOLS),
    "response_format": (({"type": "text"},), "only text can be asked for"),
    "modalities": ((["text"],), TEXT_ONLY),
    "audio": ((), TEXT_ONLY),
    "prediction": ((), "predicted outputs are not supported"),
    "web_search_options": ((), "web search is not supported"),
    "verbosity": (("medium",), "the models have one verbosity"),
    "store": ((False,), "completions are not stored for you here"),
    "service_tier": (("auto", "default"), "there is one service tier"),
    "use_beam_search": ((False,), 'ask for {"ttc": {"strategy": "beam_search"}} instead'),
    "best_of": ((1,), 'ask for {"ttc": {"strategy": "best_of_n"}} instead'),
    "echo": ((False,), "the prompt is not repeated"),
    "add_generation_prompt": ((True,), "the model always answers in a turn of its own"),
    "continue_final_message": ((False,), "the model always answers in a turn of its own"),
}
"""Known but unsupported fields: the values that ask for nothing special, and why no others are allowed."""

HARMLESS = ("user", "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier")
"""Labels for the caller's own bookkeeping; they change nothing in a completion."""


class Strict(BaseModel):
    """No coercion of types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Message(Strict):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Any = None
    name: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None

    @field_validator("content")
    @classmethod
    def _text(cls, content: Any, info: ValidationInfo) -> Any:
        if isinstance(content, str):
            return content
        if not isinstance(content, list) or not content:
            raise ValueError("must be a string or a non-empty list of text parts")
        for i, part in enumerate(content):
            if (
                not isinstance(part, dict)
                or part.get("type") != "text"
                or not isinstance(part.get("text"), str)
            ):
                kind = part.get("type") if isinstance(part, dict) else part
                raise ValueError(
                    f'part {i} is {kind!r:.40}; only {{"type": "text", "text": "..."}} is understood'
                )
        return "\n".join(part["text"] for part in content)

    def to_dict(self) -> dict[str, Any]:
        """The message as chat templates expect it."""
        message = self.model_dump(exclude_none=True, exclude={"refusal"})
        # Few templates of open models know the newer name of the system role.
        return message | {"role": "system"} if self.role == "developer" else message


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


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

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        for key in bias or {}:
            if not (key.isascii() and key.isdigit() and len(key) < 10):
                raise ValueError(f"{key!r:.40} is not a token id")
        return bias

    def extra(self) -> dict[str, Any]:
        """The fields that were given."""
        given = self.model_dump(exclude_none=True, include=set(EngineFields.model_fields))
        if self.logit_bias is not None:
            given["logit_bias"] = {int(token): bias for token, bias in self.logit_bias.items()}
        return given


class ChatRequest(EngineFields):
    """A request for a chat completion."""

    model: str = Field(min_length=1, max_length=256)
    messages: list[Message] = Field(min_length=1)
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

    def task(self) -> Task:
        """What is to be solved."""
        ttc = self.ttc or TTC()
        return Task(
            chat=Chat(
                messages=tuple(message.to_dict() for message in self.messages),
                template=self.chat_template_kwargs or {},
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
            ),
            n=self.n,
            answer=ttc.answer,
            reference=ttc.reference,
        )


def parse(body: bytes, *, nesting: int) -> ChatRequest:
    """Read a request body.

    Raises:
        InvalidRequest: naming the first field that is wrong and what it allows.
    """
    data = read_object(body, nesting=nesting)
    given = _without_nulls(data)
    for name in [name for name in given if name not in ChatRequest.model_fields]:
        _refuse(name, given.pop(name))
    try:
        request = ChatRequest.model_validate(given)
    except ValidationError as error:
        raise invalid(error, ChatRequest) from None
    _check_together(request)
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
    for name in ("ttc", "stream_options"):
        if isinstance(value := given.get(name), dict):
            given[name] = {k: v for k, v in value.items() if v is not None}
    return given


def _refuse(name: str, value: Any) -> None:
    """Refuse a field that is not ours, unless its value asks for nothing."""
    if name in HARMLESS:
        return
    if name not in REFUSED:
        known = one_of([*ChatRequest.model_fields, *HARMLESS])
        raise InvalidRequest(
            f"unknown field {name!r:.80}; allowed: {known}", param=name[:80], code="unknown_parameter"
        )
    allowed, why = REFUSED[name]
    if not any(value == a and type(value) is type(a) for a in allowed):
        hint = f"leave it out or give {one_of(repr(a) for a in allowed)}" if allowed else "leave it out"
        raise InvalidRequest(
            f"{name} cannot be honoured: {why}; {hint}", param=name, code="unsupported_parameter"
        )


def _check_together(request: ChatRequest) -> None:
    """What only two fields together make wrong.

    Raises:
        InvalidRequest: naming one of them.
    """

    def wrong(param: str, message: str) -> InvalidRequest:
        return InvalidRequest(f"{param}: {message}", param=param)

    limits = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise wrong("max_completion_tokens", "max_tokens is given with another value; give one of them")
    if request.top_logprobs is not None and not request.logprobs:
        raise wrong("top_logprobs", "only allowed together with logprobs: true")
    if request.stream_options is not None and not request.stream:
        raise wrong("stream_options", "only allowed together with stream: true")
    if request.min_tokens is not None and limits and request.min_tokens > max(filter(None, limits)):
        raise wrong("min_tokens", "must not be above max_tokens")
    if request.ttc is not None and request.ttc.progress and not request.stream:
        raise wrong("ttc.progress", "only allowed together with stream: true")
    for i, message in enumerate(request.messages):
        if message.content is None:
            raise wrong(f"messages[{i}].content", "must be a string or a non-empty list of text parts")


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
