"""What a strategy may touch while it solves one task. Only a run spends."""

from __future__ import annotations

import asyncio
import hashlib
import random
from array import array
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from mull.answers import Answers
from mull.answers.fitting import Found
from mull.budget import Budget, Limits
from mull.errors import EngineUnavailable, InvalidRequest, NotFound, Unsupported, one_of
from mull.form import Form
from mull.protocols import Generator, Retriever, Verifier
from mull.spending import Spender, first_of, in_time
from mull.trace import Trace
from mull.types import (
    Aggregation,
    Candidate,
    Chat,
    Chunk,
    Passage,
    Prompt,
    Sampling,
    Score,
    Task,
    Usage,
)

UNKNOWN = Score(value=0.0, known=False)

T = TypeVar("T")

GRACE = 1.0
"""Seconds in which an engine has to answer that generates nothing, though the budget be spent."""


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
        difficulty: Verifier | None = None,
        models: Mapping[str, Generator] | None = None,
        retrievers: Mapping[str, Retriever] | None = None,
        budget: Budget | None = None,
        trace: Trace | None = None,
        commit: Callable[[Chunk], None] | None = None,
    ) -> None:
        self.task = task
        self.budget = budget or Budget()
        self.trace = trace or Trace()
        self.rng = random.Random(task.sampling.seed)
        self._generator = generator
        self._verifier = verifier
        self._difficulty = difficulty
        self._models = models or {}
        self._retrievers = retrievers or {}
        self._answers = answers
        self._commit = commit
        self._committed = ""
        self._drawn: dict[bytes, int] = {}
        self._roots: dict[int, tuple[Chat, bytes]] = {}
        self._pool: list[Candidate] = []
        self._early: str | None = None
        self._spender = Spender(generator=generator, budget=self.budget, trace=self.trace)
        self._parent: Run | None = None
        self._under = 0
        self._children = 0
        self._name = ""

    @property
    def usage(self) -> Usage:
        """Everything engines were given and generated for the request, cancelled work included."""
        return self._spender.account.usage

    @property
    def calls(self) -> int:
        """Engine requests."""
        return self._spender.account.calls

    @property
    def verifier_calls(self) -> int:
        """Calls of the verifier."""
        return self._spender.account.verifier_calls

    @property
    def verifier_tokens(self) -> int:
        """Tokens that the verifier computed."""
        return self._spender.account.verifier_tokens

    @property
    def failure(self) -> EngineUnavailable | None:
        """Why the engine was no longer asked, where the run made do with what it had."""
        return self._spender.account.failure

    @property
    def context(self) -> int:
        """Longest prompt plus completion of the model, in tokens."""
        return self._generator.context

    @property
    def ends(self) -> frozenset[int]:
        """Ids of the tokens that end an answer; empty where the engine does not tell."""
        return self._generator.ends

    # -- parts of a run -----------------------------------------------------------------------------------

    def child(
        self,
        *,
        task: Task | None = None,
        model: str | None = None,
        limits: Limits | None = None,
        drawn: Sequence[Candidate] = (),
        under: int | None = None,
        commits: bool = False,
    ) -> Run:
        """A run for a part of the work: it spends from this budget and adds to this trace.

        Its seeds depend on how many children there were before, so make those that run at the same time
        in an order that does not depend on what finishes first.

        Args:
            task: What it solves; this run's task by default.
            model: Another model of the server.
            limits: What it may spend at most; by default all that is left of this run's budget.
            drawn: Whole answers to this task that exist already: sampling from the root takes these first.
            under: Trace node below which it begins; by default where this run began.
            commits: Whether what it commits is the begin of this run's answer.

        Raises:
            NotFound: the server has no such model.
        """
        if model is not None and model not in self._models:
            raise NotFound(
                f"unknown model {model!r:.80}; known are {one_of(self._models)}", param="ttc.models"
            )
        self._children += 1
        run = Run(
            task=task or self.task,
            generator=self._generator if model is None else self._models[model],
            answers=self._answers,
            verifier=self._verifier,
            difficulty=self._difficulty,
            models=self._models,
            retrievers=self._retrievers,
            budget=self.budget if limits is None else self.budget.child(limits),
            trace=self.trace,
            commit=self.commit if commits and self._commit is not None else None,
        )
        run._name = f"{self._name}/{self._children}"
        run.rng = random.Random(repr((run.task.sampling.seed, run._name)) if run._seeded else None)
        run._pool = list(drawn)
        run._spender = self._spender.part(run._generator, run.budget)
        run._parent = self
        run._under = self._under if under is None else under
        return run

    async def _within(self, answering: Coroutine[Any, Any, T]) -> T:
        """What an engine has to answer in time: it may be away."""
        left = self.budget.seconds_left
        try:
            async with asyncio.timeout(None if left is None else max(left, GRACE)):
                return await answering
        except TimeoutError:
            raise EngineUnavailable("the engine did not answer within the budget of seconds") from None

    def mark(self, kind: str, text: str = "", *, parent: int | None = None, **data: Any) -> int:
        """Add a node that costs nothing to the trace (a stage, a decision) and return its id."""
        above = self._under if parent is None else parent
        return self.trace.add(parent=above, kind=kind, text=text, started=self.trace.now(), data=data)

    # -- generating ---------------------------------------------------------------------------------------

    async def start(self, chat: Chat | None = None, *, under: int | None = None) -> Candidate:
        """The root of a search: the task's chat (or another one) rendered, nothing generated yet.

        `under` is the trace node that it hangs below, by default where the run began.
        """
        prompt = await self._within(self._generator.render(chat or self.task.chat))
        return Candidate(prompt=prompt, node=self._under if under is None else under)

    async def ask(
        self,
        chat: Chat,
        *,
        n: int = 1,
        sampling: Sampling | None = None,
        under: int | None = None,
        kind: str = "ask",
    ) -> list[Candidate]:
        """`n` replies of the model to another chat (a critique, a verdict), by index.

        Fewer come when the budget runs out, none when the chat is too long for the model's context, which
        the trace then says.
        """
        try:
            root = await self.start(chat, under=under)
        except InvalidRequest as refused:
            if refused.code != "context_length_exceeded":
                raise
            self.mark("too_long", chat.question, parent=under)
            return []
        return await self.collect(root, n=n, sampling=sampling, kind=kind)

    async def append(self, origin: Candidate, text: str, *, kind: str = "forced") -> Candidate:
        """The candidate with a text put into its answer that the model did not generate.

        An answer that had ended is open again: it can be continued.

        Raises:
            Unsupported: the engine cannot continue a partial answer.
        """
        self._require_continuing(origin, text)
        prompt = origin.prompt
        if origin.complete and prompt.ids is not None:
            if prompt.ids[-1:] and prompt.ids[-1] in self._generator.ends:
                prompt = replace(prompt, ids=prompt.ids[:-1], generated=prompt.generated - 1)
            else:
                # It ended in a stop string, whose ids are there although its text is not.
                prompt = await self._within(self._generator.append(prompt.root, prompt.text))
        prompt = await self._within(self._generator.append(prompt, text))
        node = self.mark(kind, text, parent=origin.node)
        return replace(origin, prompt=prompt, steps=(*origin.steps, text), finish="step", node=node)

    async def sample(
        self,
        origin: Candidate,
        *,
        n: int = 1,
        step: str | None = None,
        span: int | None = None,
        sampling: Sampling | None = None,
        kind: str = "sample",
    ) -> AsyncGenerator[Candidate, None]:
        """Sample `n` continuations of `origin`, in the order in which they finish.

        Fewer come when the budget runs out. An origin with no room left under the request's `max_tokens` or
        the model's context comes back once, truncated. Close the iterator (`contextlib.aclosing`) to abort
        what has not finished.

        Args:
            origin: What to continue.
            n: How many.
            step: Each ends at most one step further, in this delimiter.
            span: Each ends at most so many tokens further; what is cut there has finish `step`.
            sampling: How; by default as the task says.
            kind: What the trace calls them.

        Raises:
            Unsupported: `step`, or an origin with text, on an engine that cannot continue a prefix.
            InvalidRequest: several samples at temperature 0, which would all be the same.
        """
        self._require_continuing(origin, step)
        asked = sampling or self.task.sampling
        if n > 1 and asked.temperature == 0:
            raise InvalidRequest(
                f"temperature 0 makes {n} samples the same; use a temperature above 0 with this strategy",
                param="temperature",
            )
        given = self._take(origin, n) if step is None and span is None and sampling is None else []
        for index, candidate in enumerate(given):
            yield replace(candidate, index=index)
        n -= len(given)
        if n == 0:
            return
        room = self._room(origin, asked)
        if room <= 0:
            yield replace(origin, finish="length")
            return
        form = asked.form.loose if origin.steps or step or span else asked.form
        seeded = replace(asked, step=step, seed=self._draw_seed(origin, n), form=form)
        queue: asyncio.Queue[Candidate | None] = asyncio.Queue()
        feeder = asyncio.create_task(self._spender.feed(origin, seeded, n, room, span, kind, queue))
        feeder.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (sampled := await queue.get()) is not None:
                yield replace(sampled, index=sampled.index + len(given)) if given else sampled
            await feeder
        finally:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)

    async def collect(
        self,
        origin: Candidate,
        *,
        n: int = 1,
        step: str | None = None,
        span: int | None = None,
        sampling: Sampling | None = None,
        kind: str = "sample",
    ) -> list[Candidate]:
        """All of `sample`, ordered by index, so that nothing depends on which finished first."""
        samples = self.sample(origin, n=n, step=step, span=span, sampling=sampling, kind=kind)
        async with aclosing(samples):
            return sorted([c async for c in samples], key=lambda c: c.index)

    async def expand(
        self,
        origins: Sequence[Candidate],
        *,
        n: int = 1,
        step: str | None = None,
        span: int | None = None,
        sampling: Sampling | None = None,
        kind: str = "step",
    ) -> list[list[Candidate]]:
        """`collect` from several origins at once; one failure stops the spending of the others."""
        return await self.together(
            [self.collect(o, n=n, step=step, span=span, sampling=sampling, kind=kind) for o in origins]
        )

    async def together(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Do several things at once, results in order; one failure stops the spending of the others.

        Each should ask for generations once: after the first, the order of asking is that of finishing,
        and with it who gets the last of a budget.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each) for each in work]
        except BaseExceptionGroup as failed:
            raise first_of(failed) from None
        return [task.result() for task in tasks]

    async def follow(
        self, origin: Candidate, *, sampling: Sampling | None = None, kind: str = "sample"
    ) -> Candidate | None:
        """Sample one continuation and commit its tokens as they come; `sampling` replaces the task's.

        Returns:
            The candidate, truncated where a deadline cut it; None if the budget allowed nothing at all.
        """
        if self._pool or (self._commit is None and self.budget.seconds_left is None):
            return next(iter(await self.collect(origin, sampling=sampling, kind=kind)), None)
        self._require_continuing(origin)
        asked = sampling or self.task.sampling
        room = self._room(origin, asked)
        if room <= 0:
            return replace(origin, finish="length")
        form = asked.form.loose if origin.steps else asked.form
        seeded = replace(asked, seed=self._draw_seed(origin, 1), form=form)
        return await self._spender.follow(origin, seeded, room, kind, self.commit)

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
        self._spender.account.verifier_calls += 1
        scores: list[Score] = []
        async with in_time(self.budget):
            scores = await self._verifier.score(self.task, candidates)
        if not scores:
            return [UNKNOWN] * len(candidates)
        for candidate, score in zip(candidates, scores, strict=True):
            self._spender.account.verifier_tokens += score.tokens
            self.trace.score(candidate.node, score, score.reduce(how))
        return scores

    async def ease(self) -> float | None:
        """How likely one sample is to be right, judged by the question alone; None past the deadline.

        Raises:
            InvalidRequest: the server has no verifier of kind `difficulty`.
            VerifierUnavailable: it does not answer.
        """
        if self._difficulty is None:
            raise InvalidRequest("this strategy needs a verifier of kind difficulty", param="ttc.signal")
        bare = Candidate(prompt=Prompt(chat=self.task.chat))
        self._spender.account.verifier_calls += 1
        scores: list[Score] = []
        async with in_time(self.budget):
            scores = await self._difficulty.score(self.task, [bare])
        if not scores:
            return None
        self._spender.account.verifier_tokens += scores[0].tokens
        return scores[0].value

    async def answers_of(self, candidates: Sequence[Candidate], *, bare: bool = False) -> list[str | None]:
        """The final answer in each complete candidate; None for what is cut off or has none.

        `bare` reads them without the task's form: replies that were made to be an answer and nothing else.
        """
        return [(await self._find(c, Form() if bare else self.task.form)).answer for c in candidates]

    async def fitting(self, candidates: Sequence[Candidate]) -> list[bool]:
        """Whether each candidate is what the task's form demands; what is cut off is not, if it demands."""
        if not self.task.form.demanding:
            return [True] * len(candidates)
        return [(await self._find(c, self.task.form)).fits for c in candidates]

    async def group(self, answers: Sequence[str | None]) -> list[int | None]:
        """Put equal answers into classes, numbered by first appearance; None abstains.

        Past the deadline, only what needs no algebra is found equal.
        """
        exact = self.task.form.json is not None and self.task.answer in ("auto", "json")
        groups = await self._answers.group(answers, seconds=self.budget.seconds_left, exact=exact)
        if self.budget.seconds_left == 0.0:
            self.budget.exhaust("seconds")
        return groups

    async def retrieve(self, query: str, k: int, *, name: str | None = None) -> list[Passage]:
        """At most `k` passages that bear on a query, best first, from a retriever of the server.

        When the deadline passes meanwhile, there are none.

        Raises:
            InvalidRequest: the server has none, or several and `name` does not say which.
            NotFound: it has none of this name.
            RetrieverUnavailable: it does not answer.
        """
        known = self._retrievers
        if not known:
            raise InvalidRequest("this strategy needs a retriever; none is configured", param="ttc.retriever")
        if name is None and len(known) > 1:
            raise InvalidRequest(f"name a retriever: {one_of(known)}", param="ttc.retriever")
        if name is not None and name not in known:
            raise NotFound(
                f"unknown retriever {name!r:.80}; known are {one_of(known)}", param="ttc.retriever"
            )
        found: list[Passage] = []
        async with in_time(self.budget):
            found = await known[name or next(iter(known))].search(query, k)
        self.mark("retrieve", query, passages=[{"id": p.id, "score": p.score} for p in found])
        return found

    # -- ending -------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Say why the strategy ended before doing all it could (`consensus`, say)."""
        self._early = self._early or reason
        if self._parent is not None:
            self._parent.stop(reason)

    @property
    def stopped(self) -> str:
        """Why the run ended: `complete`, a budget (`tokens`, `seconds`, `samples`) or a strategy's reason."""
        return self.budget.exhausted or self._early or "complete"

    # -- inside -------------------------------------------------------------------------------------------

    async def _find(self, candidate: Candidate, form: Form) -> Found:
        if not candidate.complete:
            return Found(answer=None, fits=not form.demanding)
        return await self._answers.find(candidate.text, self.task.answer, form)

    @property
    def _seeded(self) -> bool:
        return self.task.sampling.seed is not None

    def _take(self, origin: Candidate, n: int) -> list[Candidate]:
        """Up to `n` of the answers drawn already, where they would be drawn again."""
        fitting = [] if origin.steps else [c for c in self._pool if c.prompt.root == origin.prompt]
        taken = {candidate.node for candidate in fitting[:n]}
        self._pool = [candidate for candidate in self._pool if candidate.node not in taken]
        return fitting[:n]

    def _require_continuing(self, origin: Candidate, step: str | None = None) -> None:
        if (step or origin.steps) and not self._generator.continues:
            raise Unsupported("this model's engine cannot continue a partial answer", param="ttc.strategy")

    def _room(self, origin: Candidate, sampling: Sampling) -> int:
        """Tokens that may still be generated from `origin`."""
        room = self._generator.context - len(origin.prompt.ids or ())
        asked = sampling.max_tokens
        return room if asked is None else min(room, asked - origin.tokens)

    def _draw_seed(self, origin: Candidate, n: int) -> int | None:
        """A seed that depends on the request's seed, the path and earlier draws from it, not on timing."""
        if self.task.sampling.seed is None:
            return None
        path = self._path(origin.prompt)
        drawn = self._drawn.get(path, 0)
        self._drawn[path] = drawn + n
        key = repr((self.task.sampling.seed, self._name)).encode()
        digest = hashlib.blake2b(path, digest_size=4, key=hashlib.blake2b(key).digest()).digest()
        return int.from_bytes(digest) % (2**31 - 2**20) + drawn

    def _path(self, prompt: Prompt) -> bytes:
        """What an engine would continue: a digest of the conversation's tokens, then those of the answer."""
        if prompt.ids is None:
            return prompt.text.encode()
        begun = len(prompt.ids) - prompt.generated
        if id(prompt.chat) not in self._roots:
            digest = hashlib.blake2b(_packed(prompt.ids[:begun]), digest_size=16).digest()
            self._roots[id(prompt.chat)] = prompt.chat, digest
        return self._roots[id(prompt.chat)][1] + _packed(prompt.ids[begun:])


def _packed(ids: Sequence[int]) -> bytes:
    return array("I", ids).tobytes()
