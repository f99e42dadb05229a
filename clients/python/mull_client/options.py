"""What `ask` and `stream` take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from openai.types.chat import ChatCompletionMessageParam

DEFAULT: Any = object()
"""A parameter that is left to the server."""


class Budget(TypedDict, total=False):
    """Most generated tokens, seconds, generations; `share`: of what an outer strategy has left."""

    tokens: int
    seconds: float
    samples: int
    share: float


class Strategy(dict[str, Any]):
    """Any strategy by its name, a plugin's too, as plain data: `Strategy("best_of_n", n=16)`.

    Inside another one it can have a budget of its own: `BestOfN(n=4) | {"budget": Budget(share=0.5)}`.
    """

    def __init__(self, name: str, /, **parameters: Any) -> None:
        self._set(name, parameters)

    def _set(self, name: str, given: Mapping[str, Any]) -> None:
        self["strategy"] = name
        self.update({key: value for key, value in given.items() if key != "self" and value is not DEFAULT})


Inner: TypeAlias = Mapping[str, Any] | str
Question: TypeAlias = str | Iterable[ChatCompletionMessageParam]


class Options(TypedDict, total=False):
    """Everything besides the question. `model` is the server's first one when not given."""

    strategy: Inner
    budget: Budget
    verifier: str
    include: Sequence[Literal["candidates", "trace"]]
    answer: Literal["auto", "boxed", "number", "choice", "json", "tool_call", "text"]
    reference: str
    model: str
    n: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop: str | list[str]
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"]
    logprobs: bool
    top_logprobs: int
    tools: Iterable[Any]
    tool_choice: Any
    response_format: Any
    extra_body: Mapping[str, Any]
    extra_headers: Mapping[str, str]
    timeout: float


OWN = ("budget", "verifier", "include", "answer", "reference")


def request(question: Question, options: Options, *, stream: bool = False) -> dict[str, Any]:
    """The arguments of `chat.completions.create`, without a model that is not given."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    given["messages"] = [{"role": "user", "content": question}] if isinstance(question, str) else question
    extra = given.setdefault("extra_body", {})
    ttc = dict(extra.get("ttc") or {})
    strategy = given.pop("strategy", {})
    ttc |= {"strategy": strategy} if isinstance(strategy, str) else strategy
    ttc |= {name: given.pop(name) for name in OWN if name in given}
    if stream:
        ttc["progress"] = "nodes"
        given |= {"stream": True, "stream_options": {"include_usage": True}}
    return given | {"extra_body": {**extra, "ttc": ttc} if ttc else extra}
