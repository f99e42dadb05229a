"""Engine calls within a budget: reserved before, settled, billed and traced after, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

from mull.budget import Budget
from mull.errors import EngineUnavailable
from mull.protocols import Generator
from mull.trace import Trace
from mull.types import Candidate, Chunk, Completion, Meter, Sampling, TokenLogprob, Usage


@dataclass
class Account:
    """What a request has cost so far, whichever part of it spent it."""

    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    verifier_calls: int = 0
    verifier_tokens: int = 0
    complete: int = 0
    """Generations that the model ended of its own accord."""
    failure: EngineUnavailable | None = None
    """Why no more is generated, although there is something to answer with."""


class Spender:
    """The only one that calls an engine, for one run or a part of it.

    Args:
        generator: The engine.
        budget: What may be spent.
        trace: Where each generation becomes a node.
    """

    def __init__(self, *, generator: Generator, budget: Budget, trace: Trace) -> None:
        self.account = Account()
        self._generator = generator
        self._budget = budget
        self._trace = trace
        self._turn = asyncio.Lock()

    def part(self, generator: Generator, budget: Budget) -> Spender:
        """One that spends on the same account, in turn with this one."""
        other = Spender(generator=generator, budget=budget, trace=self._trace)
        other.account, other._turn = self.account, self._turn
        return other

    async def feed(
        self,
        origin: Candidate,
        sampling: Sampling,
        n: int,
        room: int,
        span: int | None,
        kind: str,
        queue: asyncio.Queue[Candidate | None],
    ) -> None:
        """Start generations as the budget allows until `n` are done, it is spent or time is up."""
        try:
            # One feeder at a time, in the order of their asking: who gets the last tokens must not depend on
            # which call happens to finish first.
            async with in_time(self._budget), asyncio.TaskGroup() as group, self._turn:
                done, each = 0, room if span is None else min(room, span)
                while done < n:
                    granted, limit = await self._grant(n - done, each)
                    if not granted:
                        break
                    seed = None if sampling.seed is None else sampling.seed + done
                    call = replace(sampling, max_tokens=limit, seed=seed)
                    group.create_task(self._call(origin, call, granted, done, each, room, kind, queue))
                    done += granted
        except BaseExceptionGroup as failed:
            error = first_of(failed)
            if not self._makes_do(error):
                raise error from None

    async def follow(
        self,
        origin: Candidate,
        sampling: Sampling,
        room: int,
        kind: str,
        heard: Callable[[Chunk], None],
    ) -> Candidate | None:
        """One generation, its tokens told as they come; None if the budget allowed nothing at all."""
        granted, limit = 0, 0
        async with in_time(self._budget), self._turn:
            granted, limit = await self._grant(1, room)
        if not granted:
            return None
        call = replace(sampling, max_tokens=limit)
        started, meter, last = self._trace.now(), Meter(), None
        text, logprobs = "", tuple[TokenLogprob, ...]()
        try:
            async with (
                in_time(self._budget),
                aclosing(self._generator.stream(origin.prompt, call, meter=meter)) as chunks,
            ):
                async for chunk in chunks:
                    text, logprobs = text + chunk.text, logprobs + chunk.logprobs
                    last = chunk.completion
                    heard(chunk)
        except EngineUnavailable as error:
            if not self._makes_do(error):
                raise
        finally:
            self._settle(meter, limit, meter.usage.completion)
            if last is None:
                last = Completion(text=text, finish="length", usage=meter.usage, logprobs=logprobs)
            candidate = self._grow(origin, last, started, kind)
        self._note_cut(last, limit, room)
        return candidate if candidate.text or last.finish == "stop" else None

    async def _grant(self, n: int, each: int) -> tuple[int, int]:
        """`Budget.reserve`, once calls in flight have left room for it; `(0, 0)` when the budget is spent."""
        while True:
            granted, limit = self._budget.reserve(n, each)
            if granted or self._budget.exhausted or not self._budget.reserved:
                return granted, limit
            await self._budget.settled()

    def _note_cut(self, completion: Completion, limit: int, each: int) -> None:
        """Flag the budget if it, and not the request, is why a completion is cut off."""
        if completion.finish == "length" and limit < each and completion.usage.completion >= limit:
            self._budget.exhaust("tokens")

    async def _call(
        self,
        origin: Candidate,
        sampling: Sampling,
        n: int,
        first: int,
        each: int,
        room: int,
        kind: str,
        queue: asyncio.Queue[Candidate | None],
    ) -> None:
        """One engine call; whatever happens, what it spent is settled and traced."""
        limit = sampling.max_tokens or 0
        started, meter, left, billed = self._trace.now(), Meter(), n, 0
        try:
            stream = self._generator.sample(origin.prompt, sampling, n=n, meter=meter)
            async with aclosing(stream) as completions:
                async for completion in completions:
                    left -= 1
                    billed += completion.usage.completion
                    self._budget.settle(limit, completion.usage.completion)
                    self._note_cut(completion, limit, each)
                    if completion.finish == "length" and completion.usage.completion >= each < room:
                        completion = replace(completion, finish="step")
                    queue.put_nowait(self._grow(origin, completion, started, kind, first + completion.index))
        finally:
            lost = meter.usage.completion - billed
            self._settle(meter, left * limit, lost)
            if left:
                self._trace.add(parent=origin.node, kind="cancelled", text="", started=started, tokens=lost)

    def _settle(self, meter: Meter, reserved: int, spent: int) -> None:
        self._budget.settle(reserved, spent)
        self.account.usage += meter.usage
        self.account.calls += meter.calls

    def _makes_do(self, error: BaseException) -> bool:
        """Whether a run ends with what it has, its engine being gone: there is a whole generation."""
        if not isinstance(error, EngineUnavailable) or not self.account.complete:
            return False
        self.account.failure = self.account.failure or error
        self._budget.halt("engine")
        self._budget.exhaust("seconds")
        return True

    def _grow(
        self, origin: Candidate, completion: Completion, started: float, kind: str, index: int = 0
    ) -> Candidate:
        self.account.complete += completion.finish == "stop"
        node = self._trace.add(
            parent=origin.node,
            kind=kind,
            text=completion.text,
            started=started,
            tokens=completion.usage.completion,
            finish=completion.finish,
            usage=completion.usage,
        )
        return Candidate(
            prompt=origin.prompt.extend(completion),
            steps=(*origin.steps, completion.text),
            finish=completion.finish,
            node=node,
            index=index,
            tokens=origin.tokens + completion.usage.completion,
            logprobs=origin.logprobs + completion.logprobs,
        )


@asynccontextmanager
async def in_time(budget: Budget) -> AsyncGenerator[None, None]:
    """Until the deadline; passing it is noted, not raised."""
    try:
        async with asyncio.timeout(budget.seconds_left) as deadline:
            budget.whole.deadlines.add(deadline)
            try:
                yield
            finally:
                budget.whole.deadlines.discard(deadline)
    except TimeoutError:
        if not deadline.expired():
            raise
        budget.exhaust("seconds")


def first_of(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first single exception inside nested groups."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
