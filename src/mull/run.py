"""What a strategy may touch while it solves one task. Only a run spends."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from mull.answers import Answers
from mull.budget import Budget
from mull.errors import InvalidRequest, Unsupported
from mull.protocols import Generator, Verifier
from mull.trace import Trace
from mull.types import (
    Aggregation,
    Candidate,
    Chat,
    Chunk,
    Completion,
    Meter,
    Sampling,
    Score,
    Task,
    TokenLogprob,
    Usage,
)

UNKNOWN = Score(value=0.0, known=False)


class Run:
    """The capabilities of one request: sampling, scoring, reading answers, within one budget and trace.

    Sampling past the budget is no error: iterators end early and `budget.exhausted` says why.
    """

    def __init__(
        self,
        *,
        task: Task,
        generator: Generator,
        answers: Answers,
        verifier: Verifier | None = None,
        budget: Budget | None = None,
        trace: Trace | None = None,
        commit: Callable[[Chunk], None] | None = None,
    ) -> None:
        self.task = task
        self.budget = budget or Budget()
        self.trace = trace or Trace()
        self.rng = random.Random(task.sampling.seed)
        self.usage = Usage()
        """Everything the engine was given and generated, cancelled work included."""
        self.calls = 0
        """Engine requests."""
        self.verifier_calls = 0
        self.verifier_tokens = 0
        self._generator = generator
        self._verifier = verifier
        self._answers = answers
        self._commit = commit
        self._committed = ""
        self._drawn: dict[tuple[int, ...] | str, int] = {}
        self._early: str | None = None
        self._turn = asyncio.Lock()

    # -- generating ---------------------------------------------------------------------------------------

    async def start(self, chat: Chat | None = None) -> Candidate:
        """The root of a search: the task's chat (or another one) rendered, nothing generated yet."""
        return Candidate(prompt=await self._generator.render(chat or self.task.chat))

    async def sample(
        self, origin: Candidate, *, n: int = 1, step: str | None = None, kind: str = "sample"
    ) -> AsyncGenerator[Candidate, None]:
        """Sample `n` continuations of `origin`, in the order in which they finish.

        With `step`, each ends at most one step further. Fewer come when the budget runs out. An origin with
        no room left under the request's `max_tokens` or the model's context comes back once, truncated.
        Close the iterator (`contextlib.aclosing`) to abort what has not finished.

        Raises:
            Unsupported: `step`, or an origin with text, on an engine that cannot continue a prefix.
            InvalidRequest: several samples at temperature 0, which would all be the same.
        """
        self._require_continuing(origin, step)
        if n > 1 and self.task.sampling.temperature == 0:
            raise InvalidRequest(
                f"temperature 0 makes {n} samples the same; use a temperature above 0 with this strategy",
                param="temperature",
            )
        each = self._room(origin)
        if each <= 0:
            yield replace(origin, finish="length")
            return
        sampling = replace(self.task.sampling, step=step, seed=self._draw_seed(origin, n))
        queue: asyncio.Queue[Candidate | None] = asyncio.Queue()
        feeder = asyncio.create_task(self._feed(origin, sampling, n, each, kind, queue))
        feeder.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (candidate := await queue.get()) is not None:
                yield candidate
            await feeder
        finally:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)

    async def collect(
        self, origin: Candidate, *, n: int = 1, step: str | None = None, kind: str = "sample"
    ) -> list[Candidate]:
        """All of `sample`, ordered by index, so that nothing depends on which finished first."""
        async with aclosing(self.sample(origin, n=n, step=step, kind=kind)) as samples:
            return sorted([c async for c in samples], key=lambda c: c.index)

    async def expand(
        self, origins: Sequence[Candidate], *, n: int = 1, step: str | None = None, kind: str = "step"
    ) -> list[list[Candidate]]:
        """`collect` from several origins at once; one failure stops the spending of the others."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.collect(o, n=n, step=step, kind=kind)) for o in origins]
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        return [task.result() for task in tasks]

    async def follow(self, origin: Candidate, *, kind: str = "sample") -> Candidate | None:
        """Sample one continuation and commit its tokens as they come.

        Returns:
            The candidate, truncated where a deadline cut it; None if the budget allowed nothing at all.
        """
        if self._commit is None and self.budget.limits.seconds is None:
            return next(iter(await self.collect(origin, kind=kind)), None)
        self._require_continuing(origin)
        room = self._room(origin)
        if room <= 0:
            return replace(origin, finish="length")
        seed = self._draw_seed(origin, 1)
        granted, limit = 0, 0
        async with self._in_time(), self._turn:
            granted, limit = await self._grant(1, room)
        if not granted:
            return None
        sampling = replace(self.task.sampling, max_tokens=limit, seed=seed)
        started, meter, last = self.trace.now(), Meter(), None
        text, logprobs = "", tuple[TokenLogprob, ...]()
        try:
            async with (
                self._in_time(),
                aclosing(self._generator.stream(origin.prompt, sampling, meter=meter)) as chunks,
            ):
                async for chunk in chunks:
                    text, logprobs = text + chunk.text, logprobs + chunk.logprobs
                    last = chunk.completion
                    self.commit(chunk)
        finally:
            self._settle(meter, limit, meter.usage.completion)
            if last is None:
                last = Completion(text=text, finish="length", usage=meter.usage, logprobs=logprobs)
            candidate = self._grow(origin, last, started, kind)
        self._note_cut(last, limit, room)
        return candidate if candidate.text or last.finish == "stop" else None

    def commit(self, chunk: Chunk) -> None:
        """Declare that the answer goes on with this text, so that it can be streamed already."""
        self._committed += chunk.text
        if self._commit is not None and (chunk.text or chunk.logprobs):
            self._commit(chunk)

    def commit_prefix(self, texts: Sequence[str]) -> None:
        """Commit what all live branches of a search have in common beyond what is committed already."""
        if self._commit is None or not texts:
            return
        low, high = min(texts), max(texts)
        shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
        if shared > len(self._committed):
            self.commit(Chunk(text=low[len(self._committed) : shared]))

    @property
    def committed(self) -> str:
        """The answer's text as far as it is committed; the answer returned must begin with it."""
        return self._committed

    # -- judging ------------------------------------------------------------------------------------------

    async def score(self, candidates: Sequence[Candidate], how: Aggregation = "min") -> list[Score]:
        """Score candidates with the request's verifier, in order; `how` aggregates step scores for the trace.

        When the deadline passes meanwhile, the scores are unknown (`known=False`).

        Raises:
            InvalidRequest: the request has no verifier.
        """
        if self._verifier is None:
            raise InvalidRequest("this strategy needs a verifier", param="ttc.verifier")
        if not candidates:
            return []
        self.verifier_calls += 1
        scores: list[Score] = []
        async with self._in_time():
            scores = await self._verifier.score(self.task, candidates)
        if not scores:
            return [UNKNOWN] * len(candidates)
        for candidate, score in zip(candidates, scores, strict=True):
            self.verifier_tokens += score.tokens
            self.trace.score(candidate.node, score, score.reduce(how))
        return scores

    async def answers_of(self, candidates: Sequence[Candidate]) -> list[str | None]:
        """The final answer in each complete candidate; None for what is cut off or has none."""
        return [
            await self._answers.extract(c.text, self.task.answer) if c.complete else None for c in candidates
        ]

    async def group(self, answers: Sequence[str | None]) -> list[int | None]:
        """Put equal answers into classes, numbered by first appearance; None abstains.

        Past the deadline, only what needs no algebra is found equal.
        """
        groups = await self._answers.group(answers, seconds=self.budget.seconds_left)
        if self.budget.seconds_left == 0.0:
            self.budget.exhaust("seconds")
        return groups

    # -- ending -------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Say why the strategy ended before doing all it could (`consensus`, say)."""
        self._early = self._early or reason

    @property
    def stopped(self) -> str:
        """Why the run ended: `complete`, a budget (`tokens`, `seconds`, `samples`) or a strategy's reason."""
        return self.budget.exhausted or self._early or "complete"

    # -- inside -------------------------------------------------------------------------------------------

    def _require_continuing(self, origin: Candidate, step: str | None = None) -> None:
        if (step or origin.steps) and not self._generator.continues:
            raise Unsupported("this model's engine cannot continue a partial answer", param="ttc.strategy")

    def _room(self, origin: Candidate) -> int:
        """Tokens that may still be generated from `origin`."""
        room = self._generator.context - len(origin.prompt.ids or ())
        asked = self.task.sampling.max_tokens
        return room if asked is None else min(room, asked - origin.tokens)

    def _draw_seed(self, origin: Candidate, n: int) -> int | None:
        """A seed that depends on the request's seed, the path and earlier draws from it, not on timing."""
        if self.task.sampling.seed is None:
            return None
        path = origin.prompt.ids if origin.prompt.ids is not None else origin.text
        drawn = self._drawn.get(path, 0)
        self._drawn[path] = drawn + n
        digest = hashlib.blake2b(repr((self.task.sampling.seed, path)).encode(), digest_size=4).digest()
        return int.from_bytes(digest) % (2**31 - 2**20) + drawn

    async def _feed(
        self,
        origin: Candidate,
        sampling: Sampling,
        n: int,
        each: int,
        kind: str,
        queue: asyncio.Queue[Candidate | None],
    ) -> None:
        """Start generations as the budget allows until `n` are done, it is spent or time is up."""
        try:
            # One feeder at a time, in the order of their asking: who gets the last tokens must not depend on
            # which call happens to finish first.
            async with self._in_time(), asyncio.TaskGroup() as group, self._turn:
                done = 0
                while done < n:
                    granted, limit = await self._grant(n - done, each)
                    if not granted:
                        break
                    seed = None if sampling.seed is None else sampling.seed + done
                    call = replace(sampling, max_tokens=limit, seed=seed)
                    group.create_task(self._call(origin, call, granted, done, each, kind, queue))
                    done += granted
        except BaseExceptionGroup as failed:
            raise _first(failed) from None

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None, None]:
        """Until the deadline; passing it is noted, not raised."""
        try:
            async with asyncio.timeout(self.budget.seconds_left) as deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise
            self.budget.exhaust("seconds")

    async def _grant(self, n: int, each: int) -> tuple[int, int]:
        """`Budget.reserve`, once calls in flight have left room for it; `(0, 0)` when the budget is spent."""
        while True:
            granted, limit = self.budget.reserve(n, each)
            if granted or self.budget.exhausted or not self.budget.reserved:
                return granted, limit
            await self.budget.settled()

    def _note_cut(self, completion: Completion, limit: int, room: int) -> None:
        """Flag the budget if it, and not the request, is why a completion is cut off."""
        if completion.finish == "length" and limit < room and completion.usage.completion >= limit:
            self.budget.exhaust("tokens")

    async def _call(
        self,
        origin: Candidate,
        sampling: Sampling,
        n: int,
        first: int,
        room: int,
        kind: str,
        queue: asyncio.Queue[Candidate | None],
    ) -> None:
        """One engine call; whatever happens, what it spent is settled and traced."""
        limit = sampling.max_tokens or 0
        started, meter, left, billed = self.trace.now(), Meter(), n, 0
        try:
            stream = self._generator.sample(origin.prompt, sampling, n=n, meter=meter)
            async with aclosing(stream) as completions:
                async for completion in completions:
                    left -= 1
                    billed += completion.usage.completion
                    self.budget.settle(limit, completion.usage.completion)
                    self._note_cut(completion, limit, room)
                    candidate = self._grow(origin, completion, started, kind)
                    queue.put_nowait(replace(candidate, index=first + completion.index))
        finally:
            lost = meter.usage.completion - billed
            self._settle(meter, left * limit, lost)
            if left:
                self.trace.add(parent=origin.node, kind="cancelled", text="", started=started, tokens=lost)

    def _settle(self, meter: Meter, reserved: int, spent: int) -> None:
        self.budget.settle(reserved, spent)
        self.usage += meter.usage
        self.calls += meter.calls

    def _grow(self, origin: Candidate, completion: Completion, started: float, kind: str) -> Candidate:
        node = self.trace.add(
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
            tokens=origin.tokens + completion.usage.completion,
            logprobs=origin.logprobs + completion.logprobs,
        )


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first single exception inside nested groups."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
