"""The seams of mull. Everything else implements one of them or is handed one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mull.types import (
    Answer,
    Candidate,
    Chat,
    Chunk,
    Completion,
    Meter,
    Passage,
    Prompt,
    Sampling,
    Score,
    Task,
    VerifierKind,
)

if TYPE_CHECKING:
    from mull.run import Run


@runtime_checkable
class Generator(Protocol):
    """Samples continuations of a prompt from one model.

    Closing an iterator of `sample` or `stream` aborts, in the engine too, what has not finished; whatever
    way a request ends, its usage is added to the meter exactly once, before the iterator is gone.
    """

    model: str
    """Name under which the model is served."""
    continues: bool
    """Whether it can continue a partial answer (step search needs it)."""
    context: int
    """Longest prompt plus completion, in tokens."""
    ends: frozenset[int]
    """Ids of the tokens that end an answer; empty where they are not known."""

    async def render(self, chat: Chat) -> Prompt:
        """Apply the chat template.

        Raises:
            InvalidRequest: the chat cannot be rendered or is longer than the context.
        """
        ...

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with a text put into the answer that the model did not generate.

        Raises:
            Unsupported: the engine cannot continue a partial answer.
        """
        ...

    def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        """Sample `n` continuations; they arrive in the order in which they finish.

        With a seed, sample `i` uses `seed + i`.

        Raises:
            EngineUnavailable: the engine died or does not answer.
            InvalidRequest: the engine refuses the prompt or a sampling setting.
        """
        ...

    def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Sample one continuation, token by token; the last chunk carries the completion."""
        ...


@runtime_checkable
class Tokenizing(Protocol):
    """A generator that shows its tokenizer."""

    async def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text; `special` adds the tokenizer's special tokens.

        Raises:
            Unsupported: its server does not tell.
        """
        ...

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens written out.

        Raises:
            InvalidRequest: there are no such tokens.
            Unsupported: its server does not tell.
        """
        ...


@runtime_checkable
class Verifier(Protocol):
    """Judges candidates. Scoring a batch equals scoring its members one by one."""

    name: str
    kind: VerifierKind

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order.

        Raises:
            VerifierUnavailable: the verifier died or does not answer.
        """
        ...


@runtime_checkable
class Retriever(Protocol):
    """Finds texts that bear on a query."""

    name: str

    async def search(self, query: str, k: int) -> list[Passage]:
        """At most `k` passages, best first; equal scores in the order in which they were indexed.

        Raises:
            RetrieverUnavailable: the index cannot be read or its store does not answer.
        """
        ...


@runtime_checkable
class Strategy(Protocol):
    """A way to spend compute on a task. Its fields are its request parameters."""

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Solve the task with what `run` allows; a spent budget yields the best so far."""
        ...
