"""The body of POST /v1/completions: OpenAI's older fields, vLLM's sampling fields, and `ttc`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from mull.errors import InvalidRequest
from mull.server import refused
from mull.server.admission import Refused, admitted
from mull.server.schemas import (
    HARMLESS,
    TTC,
    ChatRequest,
    Effort,
    EngineFields,
    Probability,
    StreamOptions,
    check_progress,
    only_nodes,
)
from mull.types import Bare

REFUSED: Refused = {
    **refused.REFUSED,
    "suffix": (("",), "text is only generated at the end"),
    "prompt_logprobs": ((), "only generated tokens have log-probabilities here"),
    "prompt_embeds": ((), "give text or token ids"),
    "response_format": (({"type": "text"},), "give structured_outputs instead"),
}

FORMS = "must be a string, a list of strings, a list of token ids, or a list of those"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class CompletionRequest(EngineFields):
    """A request to go on with one prompt or several."""

    model: str = Field(min_length=1, max_length=256)
    prompt: Any = Field(
        json_schema_extra={
            "anyOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
                {"type": "array", "minItems": 1, "items": {"type": "integer"}},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
                },
            ]
        }
    )
    ttc: TTC | None = None
    reasoning_effort: Effort | None = None
    n: int = Field(1, ge=1, le=1024, description="Choices for each prompt.")
    max_tokens: int = Field(16, ge=1, le=2**31)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: Probability | None = None
    top_k: int | None = Field(None, ge=-1, le=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    stop: Annotated[list[Annotated[str, Field(min_length=1)]] | None, BeforeValidator(_listed)] = Field(
        None, max_length=16
    )
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logprobs: int | None = Field(None, ge=0, le=20, description="How many alternatives to each token.")
    echo: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    add_special_tokens: bool = True

    @field_validator("prompt")
    @classmethod
    def _one_form(cls, prompt: Any) -> Any:
        prompts = [prompt] if isinstance(prompt, str) or _ids(prompt) else prompt
        if not isinstance(prompts, list) or not prompts:
            raise ValueError(FORMS)
        if not all(isinstance(each, str) for each in prompts) and not all(map(_ids, prompts)):
            raise ValueError(FORMS)
        return prompts

    @property
    def prompts(self) -> list[Bare]:
        """The prompts; those given as token ids without their text."""
        special = self.add_special_tokens
        return [
            Bare(text=each, special=special) if isinstance(each, str) else Bare(text="", ids=tuple(each))
            for each in self.prompt
        ]

    def as_chat(self) -> ChatRequest:
        """The request as one for a chat completion; only its messages are not what is asked."""
        own = {"prompt", "echo", "add_special_tokens", "logprobs"}
        given = self.model_dump(exclude_none=True, exclude=own)
        if self.logprobs is not None:
            given |= {"logprobs": True, "top_logprobs": self.logprobs}
        return ChatRequest.model_validate({**given, "messages": [{"role": "user", "content": ""}]})


def _ids(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**31 for each in value)
    )


def parse(data: dict[str, Any], *, most: int) -> CompletionRequest:
    """A request body as a request.

    Args:
        data: The body.
        most: How many prompts it may have.

    Raises:
        InvalidRequest: naming the first field that is wrong and what it allows.
    """
    request = admitted(data, CompletionRequest, refused=REFUSED, harmless=HARMLESS)

    def wrong(param: str, message: str) -> InvalidRequest:
        return InvalidRequest(f"{param}: {message}", param=param)

    if len(request.prompt) > most:
        raise wrong("prompt", f"at most {most} prompts may be asked at once, not {len(request.prompt)}")
    if request.stream_options is not None and not request.stream:
        raise wrong("stream_options", "only allowed together with stream: true")
    if request.echo and request.logprobs is not None:
        raise wrong("echo", "the prompt has no log-probabilities here; leave out echo or logprobs")
    if request.min_tokens is not None and request.min_tokens > request.max_tokens:
        raise wrong("min_tokens", "must not be above max_tokens")
    check_progress(request.ttc, stream=request.stream)
    only_nodes(request.ttc, "a completion")
    return request
