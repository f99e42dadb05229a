"""What every engine does alike: several requests at once, stop strings, streaming, exact bills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from mull.engines.ending import conclude, content_start, overlaps, stop_position, stop_strings
from mull.engines.tasks import as_finished
from mull.types import Chat, Chunk, Completion, Meter, Prompt, Sampling, TokenLogprob, Usage


@dataclass(kw_only=True)
class Request:
    """One request to an engine and what has come of it so far."""

    prompt: Prompt
    sampling: Sampling
    index: int = 0
    stream: bool = False
    """Whether to update it token by token, or only once at its end where the engine can do that."""
    begun: bool = False
    """Whether the engine has it, so that it costs something."""
    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: str | None = None
    """The engine's finish reason, once it has ended."""
    stop: str | int | None = None
    """The stop string or token at which it ended."""
    usage: Usage = field(default_factory=Usage)
    content: int | None = None
    """Where in the text the content begins, of a request whose stop strings are watched for there."""
    seen: int = 0
    """How much of the text has been watched."""
    watched: bool = False
    """Whether stop strings are looked for here: the engine would find them in thoughts as well."""
    joined: int | None = None
    """Where in the text an engine took over from one that failed: neither saw a stop string across it."""

    @property
    def stops(self) -> list[str]:
        """What the engine is to stop at."""
        return stop_strings(replace(self.sampling, stop=()) if self.watched else self.sampling)

    def stopped(self) -> int | None:
        """Where in the text a stop string begins that the engine did not see; None without one."""
        before, text, stops = self.prompt.text, self.text, self.sampling.stop
        if not self.watched:
            return stop_position(before, text, stops, seen=self.searched)
        if self.content is None:
            assert self.sampling.form.thoughts is not None
            start = content_start(before + text, self.sampling.form.thoughts, seen=self.seen + len(before))
            self.seen = len(text)
            if start is None:
                return None
            self.content = self.seen = max(0, start - len(before))
        found = stop_position("", text[self.content :], stops, seen=self.seen - self.content)
        self.seen = len(text)
        return None if found is None else self.content + found

    @property
    def searched(self) -> int:
        """How much of the text the engine has searched for stop strings."""
        return len(self.text) if self.joined is None else self.joined

    @property
    def seed(self) -> int | None:
        """The seed of this one of several samples."""
        seed = self.sampling.seed
        return None if seed is None else (seed + self.index) % 2**63


class Sampler(ABC):
    """A `Generator` over engine requests of one sample each."""

    model: str
    continues: bool
    context: int
    ends: frozenset[int]
    polled = True
    """Whether its health may be asked for again and again."""

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        """Sample `n` continuations, each a request of its own, so that none waits for another.

        Raises:
            EngineUnavailable: the engine died or does not answer.
            InvalidRequest: the engine refuses a setting, or the prompt leaves no room.
        """
        watched = self._watches(prompt, sampling)
        requests = [
            Request(prompt=prompt, sampling=sampling, index=index, stream=watched, watched=watched)
            for index in range(n)
        ]
        async with aclosing(
            as_finished(self._complete(request, meter) for request in requests)
        ) as completions:
            async for completion in completions:
                yield completion

    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Sample one continuation; text that may yet turn out to be a stop string is held back.

        Raises:
            EngineUnavailable: the engine died or does not answer.
            InvalidRequest: the engine refuses a setting, or the prompt leaves no room.
        """
        watched = self._watches(prompt, sampling)
        request = Request(prompt=prompt, sampling=sampling, stream=True, watched=watched)
        hold = max((len(stop) - 1 for stop in sampling.stop), default=0)
        sent = told = 0
        position = None
        async with aclosing(self._metered(request, meter)) as updates:
            async for _ in updates:
                seen = len(request.text)
                if (position := request.stopped()) is not None:
                    break
                if request.reason is None and seen - hold > sent:
                    logprobs = tuple(request.logprobs[told:])
                    yield Chunk(text=request.text[sent : seen - hold], logprobs=logprobs)
                    sent, told = seen - hold, told + len(logprobs)
        completion = await self._conclude(request, position)
        yield Chunk(text=completion.text[sent:], logprobs=completion.logprobs[told:], completion=completion)

    async def _complete(self, request: Request, meter: Meter | None) -> Completion:
        position = None
        async with aclosing(self._metered(request, meter)) as updates:
            async for _ in updates:
                looks = request.watched or request.joined is not None
                if looks and (position := request.stopped()) is not None:
                    break
        return await self._conclude(request, position)

    def _watches(self, prompt: Prompt, sampling: Sampling) -> bool:
        """Whether stop strings are to be looked for here: the model may think before its answer."""
        thoughts = sampling.form.thoughts
        if thoughts is None or not sampling.stop:
            return False
        return content_start(prompt.text, thoughts) is None

    async def _metered(self, request: Request, meter: Meter | None) -> AsyncGenerator[None, None]:
        try:
            async with aclosing(self._run(request)) as updates:
                async for _ in updates:
                    yield
        finally:
            if meter is not None and request.begun:
                meter.add(request.usage)

    async def _conclude(self, request: Request, position: int | None) -> Completion:
        token = await self._token_text(request.ids[-1]) if request.ids and request.reason == "stop" else ""
        previous = ""
        if request.sampling.step and len(overlaps(request.text, token)) > 1:
            before = request.ids[-1 - len(request.sampling.step) : -1]
            previous = "".join([await self._token_text(id) for id in before])
        text, finish = conclude(
            request.text,
            token,
            previous=previous,
            reason=request.reason,
            stop=request.stop,
            sampling=replace(request.sampling, stop=()) if request.watched else request.sampling,
            before=request.prompt.text,
            searched=request.searched,
        )
        if request.watched and position is not None:
            text, finish = request.text[:position], "stop"
        return Completion(
            text=text,
            ids=tuple(request.ids),
            finish=finish,
            index=request.index,
            usage=request.usage,
            logprobs=tuple(request.logprobs),
        )

    @abstractmethod
    async def check(self) -> None:
        """Return while the engine is healthy.

        Raises:
            EngineUnavailable: it is not, or does not answer.
        """

    @abstractmethod
    async def render(self, chat: Chat) -> Prompt:
        """Apply the chat template."""

    @abstractmethod
    async def append(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with a text put into the answer."""

    @abstractmethod
    async def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text."""

    @abstractmethod
    async def spell(self, ids: Sequence[int]) -> str:
        """The text of token ids."""

    @abstractmethod
    def _run(self, request: Request) -> AsyncGenerator[None, None]:
        """Have the engine work on a request, updating it before each yield, until its `reason` is known.

        Closing aborts it in the engine and leaves its usage as it was then.
        """

    @abstractmethod
    async def _token_text(self, token: int) -> str:
        """The text of one token."""
