"""The nouns of mull: what is asked, what is generated, what it is worth.

All are immutable. Token ids travel with the text wherever the engine has them, so that nothing is
tokenised twice and a continued prefix hits the engine's cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mull.form import Form

Finish = Literal["stop", "step", "length"]
"""Why a completion ended: of itself (end of sequence or a stop string of the request), at the step
delimiter, or cut off by a token limit."""

Aggregation = Literal["min", "last", "product", "mean"]

VerifierKind = Literal["outcome", "process", "difficulty"]
"""`outcome`: one score for a whole answer. `process`: a score for each step of a partial answer too.
`difficulty`: one score for the question, whatever the answer."""


@dataclass(frozen=True, kw_only=True)
class Bare:
    """A prompt that is no conversation: the engine gets it without the chat template."""

    text: str
    ids: tuple[int, ...] | None = None
    """Its token ids, where it was given as such."""
    special: bool = True
    """Whether the tokenizer puts its special tokens (the beginning of a text) around it."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A conversation in OpenAI's message shape, with what the chat template needs to render it."""

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    template: Mapping[str, Any] = field(default_factory=dict)
    """Extra arguments of the chat template (`chat_template_kwargs`)."""
    given: Bare | None = None
    """The prompt that this conversation stands for: see `of`."""

    @classmethod
    def of(cls, prompt: Bare) -> Chat:
        """A prompt without the chat template, as a conversation of one user message.

        A strategy that adds turns to it makes a conversation of it, rendered as any other; one that changes
        the message's text changes the prompt.
        """
        return cls(messages=({"role": "user", "content": prompt.text},), given=prompt)

    @property
    def bare(self) -> Bare | None:
        """What the engine gets in place of a rendered conversation; None where it gets one."""
        if self.given is None or len(self.messages) != 1:
            return None
        text = text_of(self.messages[0].get("content"))
        return self.given if text == self.given.text else replace(self.given, text=text, ids=None)

    @property
    def question(self) -> str:
        """Text of the last user message; empty when there is none."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return text_of(message.get("content"))
        return ""


def text_of(content: Any) -> str:
    """The text in a message's content, given as a string or as OpenAI's list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = (p for p in content if isinstance(p, Mapping) and p.get("type") == "text")
        return "".join(p.get("text", "") for p in parts)
    return ""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample. `None` leaves a setting to the model's own generation config."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()
    """Strings that end the answer; they are not part of it."""
    step: str | None = None
    """Step delimiter: generation pauses after it and it stays in the text."""
    seed: int | None = None
    logprobs: int | None = None
    """How many alternatives to report for each token; 0 reports the sampled token alone."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Sampling fields of the engine that mull does not interpret (penalties, logit_bias and the like)."""
    priority: int = 0
    """Whose turn it is where an engine has more to do than it can, the smaller the sooner. What is sampled
    does not depend on it, and other servers are not told."""
    form: Form = field(default_factory=Form)
    """What the answer is made of, and has to be. Engines keep to it from the first token of an answer on."""


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """A sampled token, its log-probability and the most likely alternatives as (token, id, logprob)."""

    token: str
    id: int
    logprob: float
    top: tuple[tuple[str, int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one or more engine calls; `cached` is the part of `prompt` read from the prefix cache."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            completion=self.completion + other.completion,
        )


class Meter:
    """Where a generator reports what each request cost, once, however the request ended."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.calls = 0

    def add(self, usage: Usage) -> None:
        """Count one engine request that has ended (finished, failed or aborted)."""
        self.usage += usage
        self.calls += 1


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One sampled continuation of a prompt."""

    text: str
    """What was generated; with `finish == "step"` it ends in the delimiter."""
    ids: tuple[int, ...] = ()
    """Its token ids; empty where the engine does not give them."""
    finish: Finish
    index: int = 0
    """Which of the `n` samples of the call this is; results are ordered by it, not by arrival."""
    usage: Usage = field(default_factory=Usage)
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a streamed completion; the last one carries the whole completion."""

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    completion: Completion | None = None


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What an engine continues: token ids where it has them, else the chat and the answer so far."""

    chat: Chat
    ids: tuple[int, ...] | None = None
    text: str = ""
    """The part of the answer generated so far."""
    generated: int = 0
    """How many of the last `ids` are the answer so far."""

    def extend(self, completion: Completion) -> Prompt:
        """This prompt with a completion appended, token by token as the engine gave it."""
        ids = None if self.ids is None else self.ids + completion.ids
        generated = self.generated + (len(completion.ids) or completion.usage.completion)
        return Prompt(chat=self.chat, ids=ids, text=self.text + completion.text, generated=generated)

    def append(self, text: str, ids: Sequence[int]) -> Prompt:
        """This prompt with a text and its token ids appended that nobody generated."""
        own = None if self.ids is None else self.ids + tuple(ids)
        return replace(self, ids=own, text=self.text + text, generated=self.generated + len(ids))

    @property
    def root(self) -> Prompt:
        """The prompt without any answer."""
        ids = None if self.ids is None else self.ids[: len(self.ids) - self.generated]
        return replace(self, ids=ids, text="", generated=0)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A text that a retriever found, or will find."""

    text: str
    id: str = ""
    score: float = 0.0
    """How well it matches the query, in the retriever's own unit: higher is better."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else its source says of it (title, address, page)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a request wants: the conversation, how to sample, how many answers, how to read one."""

    chat: Chat
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    """How many distinct answers to return, best first."""
    answer: str = "auto"
    """How a final answer is found in a text; see `mull.answers`."""
    reference: str | None = None
    """A known right answer, for rule verifiers and for measuring."""
    documents: tuple[Passage, ...] = ()
    """What was retrieved for it, best first: what answers are to be held against."""

    @property
    def form(self) -> Form:
        """What an answer is made of, and has to be."""
        return self.sampling.form


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A (partial) answer: the path from the root of a search to one of its nodes."""

    prompt: Prompt
    """The request's prompt with this answer so far appended: what an engine would continue."""
    steps: tuple[str, ...] = ()
    """The answer's steps, delimiters included; joined they are its text."""
    finish: Finish | None = None
    """How the last step ended; None for the root of a search."""
    node: int = 0
    """Its node in the trace."""
    index: int = 0
    """Which of its siblings it is: the order of samples, not of their arrival."""
    tokens: int = 0
    """Generated tokens along the path."""
    logprobs: tuple[TokenLogprob, ...] = ()

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(self.steps)

    @property
    def complete(self) -> bool:
        """Whether the model ended it of its own accord."""
        return self.finish == "stop"

    @property
    def truncated(self) -> bool:
        """Whether a token limit cut it off."""
        return self.finish == "length"


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a verifier thinks: probabilities in [0, 1], for the whole and (PRM) for each step."""

    value: float
    steps: tuple[float, ...] = ()
    tokens: int = 0
    """Verifier tokens computed for it, cached ones left out."""
    known: bool = True
    """False when the budget ran out before the verifier answered; such a score ranks last."""

    def reduce(self, how: Aggregation) -> float:
        """The score as one number: `steps` aggregated where there are any, else `value`."""
        return aggregate(self.steps, how) if self.steps else self.value


def aggregate(steps: Sequence[float], how: Aggregation) -> float:
    """Turn step scores into one score.

    `min` and `product` follow Lightman et al. 2023 (Let's Verify Step by Step), `last` Snell et al. 2024.

    Raises:
        ValueError: no steps, or an unknown aggregation.
    """
    if not steps:
        raise ValueError("no step scores to aggregate")
    if how == "min":
        return min(steps)
    if how == "last":
        return steps[-1]
    if how == "product":
        return math.prod(steps)
    if how == "mean":
        return math.fsum(steps) / len(steps)
    raise ValueError(f"unknown aggregation {how!r}")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A candidate as a result: its extracted answer, score and votes."""

    candidate: Candidate
    answer: str | None = None
    """The extracted final answer; None when there is none (it then abstained)."""
    score: float | None = None
    votes: float | None = None
    """Votes (or summed weight) of all candidates with an equal answer."""
    fits: bool = True
    """Whether it is what the task's form demands (JSON of a schema, calls of tools that there are)."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a strategy returns: all candidates worth returning, best first."""

    choices: tuple[Choice, ...]
    confidence: float | None = None
    """How sure the strategy is of the first choice, in [0, 1]: share of votes or the verifier's score."""

    @property
    def best(self) -> Choice:
        """The chosen candidate."""
        return self.choices[0]
