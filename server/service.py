"""Solving: a task and a plan become a run, the run an answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mull.answers import Answers
from mull.budget import Budget
from mull.engines.pool import Pool
from mull.errors import BudgetTooSmall, MullError, VerifierUnavailable
from mull.protocols import Generator, Retriever, Verifier
from mull.run import Run
from mull.server.around import Around
from mull.server.callers import Caller
from mull.server.choose import Plan
from mull.server.counting import count
from mull.server.demands import demanded, judged, thought_tokens
from mull.server.errors import cause_of
from mull.server.metered import Metered
from mull.server.metrics import Metrics
from mull.server.pool import Loaded, VerifierPool
from mull.server.queueing.errors import ShuttingDown
from mull.server.queueing.expected import in_flight
from mull.server.tracing import Tracing
from mull.strategies.base import StrategyModel
from mull.strategies.ranking import by_votes, read
from mull.trace import Listener, Trace
from mull.types import (
    Answer,
    Candidate,
    Choice,
    Chunk,
    Completion,
    Meter,
    Prompt,
    Sampling,
    Score,
    Task,
)

if TYPE_CHECKING:
    from mull.server.live import RunningRequests
    from mull.server.queueing.admission import Admission, Turn

CANCELLED = 499
"""Status under which requests are counted whose client went away."""

FALLBACK_SAMPLES = 16
"""Answers to vote on where the strategy had not come to any before its verifier failed."""


@dataclass(frozen=True, kw_only=True)
class Solved:
    """An answer and the run that found it."""

    plan: Plan
    task: Task
    run: Run
    answer: Answer
    seconds: float
    fallback: str | None = None
    """The verifier that was down, when majority vote answered in its place."""
    thought_tokens: int = 0
    """Generated tokens of the returned choices that are thoughts."""

    @property
    def choices(self) -> list[Choice]:
        """The best distinct candidates, at most as many as asked for."""
        distinct: dict[str, Choice] = {}
        for choice in self.answer.choices:
            distinct.setdefault(choice.candidate.text, choice)
        return list(distinct.values())[: self.task.n]

    @property
    def shown_tokens(self) -> int:
        """Generated tokens of the returned contents; a prefix that they share counts once."""
        nodes = self.run.trace.nodes
        path: set[int] = set()
        for choice in self.choices:
            node: int | None = choice.candidate.node
            while node is not None and node not in path:
                path.add(node)
                node = nodes[node].parent
        return max(0, sum(nodes[node].tokens for node in path) - self.thought_tokens)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request on its way to an answer."""

    plan: Plan
    task: Task
    caller: Caller = field(default_factory=Caller)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    request: str = ""
    """The request of which the job is a part; its own id where it is all of it."""
    admitted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its turn has come."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first engine call starts: by then nothing is wrong with the request itself."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A request that is over, and what came of it."""

    job: Job
    run: Run
    solved: Solved | None
    """None where it failed or was cancelled."""
    status: int
    error: MullError | None
    verifier: Loaded | None
    seconds: float


class Service:
    """Solves jobs with the models and verifiers of one server."""

    def __init__(
        self,
        *,
        generators: Mapping[str, Generator],
        verifiers: VerifierPool,
        retrievers: Mapping[str, Retriever],
        answers: Answers,
        metrics: Metrics,
        live: RunningRequests,
        admission: Admission,
        tracing: Tracing,
        fallback: bool,
        keep: Callable[[Served], None] | None = None,
    ) -> None:
        self._generators = generators
        self._verifiers = verifiers
        self._retrievers = retrievers
        self._answers = answers
        self.metrics = metrics
        self._live = live
        self._admission = admission
        self._tracing = tracing
        self._fallback = fallback
        self._keep = keep

    async def solve(
        self,
        job: Job,
        *,
        commit: Callable[[Chunk], None] | None = None,
        listener: Listener | None = None,
    ) -> Solved:
        """Solve one job; cancelling it cancels all its engine and verifier calls.

        Args:
            job: What to solve and how.
            commit: Called with text of the answer that is certain already.
            listener: Called with each node of the search.

        Raises:
            InvalidRequest: the engine refuses the prompt, or the budget allowed nothing.
            Unavailable: the engine or (without a fallback) the verifier does not answer, or there is no room.
            LimitReached: the caller's key has used up what it may.
        """
        names = job.plan.verifier, job.plan.difficulty
        turn = self._admission.turn(
            job.caller,
            request=job.request or job.id,
            cost=self._admission.expected.cost(job),
            generations=in_flight(job.plan),
        )
        with self._tracing.request(job):
            async with turn as spent:
                job.admitted.set()
                # One version of each verifier for all of the request, even if another is loaded meanwhile.
                with ExitStack() as leases:
                    loaded, difficulty = (
                        None if name is None else leases.enter_context(self._verifiers.lease(name))
                        for name in names
                    )
                    return await self._solve(job, loaded, difficulty, commit, listener, spent)

    async def _solve(
        self,
        job: Job,
        loaded: Loaded | None,
        difficulty: Loaded | None,
        commit: Callable[[Chunk], None] | None,
        listener: Listener | None,
        spent: Turn,
    ) -> Solved:
        plan, metrics, trace = job.plan, self.metrics, Trace()
        if listener is not None:
            trace.listen(listener)
        # A fallback starts over, so nothing may be promised to the client before the verifier has spoken.
        promises = commit if loaded is None or not self._fallback else None
        heard = None if loaded is None else _Heard(self._watched(loaded))
        models = {
            name: _Noticed(self._tracing.generator(model), job.begun, spent.priority)
            for name, model in self._generators.items()
        }
        run = Run(
            task=job.task,
            generator=models[plan.model],
            answers=self._answers,
            verifier=heard,
            difficulty=None if difficulty is None else self._watched(difficulty),
            models=models,
            retrievers=self._retrievers,
            budget=Budget(plan.limits),
            trace=trace,
            commit=promises,
        )
        self._live.begin(job, run, loaded, lambda: heard is not None and heard.busy)
        status, solved, failure = 500, None, None
        with metrics.running.labels(plan.model).track_inprogress():
            try:
                solved = await self._answer(job, run, heard)
                status = 200
            except MullError as error:
                status, failure = error.status, error
                raise
            except asyncio.CancelledError:
                status = CANCELLED
                raise
            finally:
                count(metrics, plan, run, solved, status)
                spent.usage = run.usage
                if solved is not None:
                    self._admission.expected.learn(plan, run.usage.completion)
                served = Served(
                    job=job,
                    run=run,
                    solved=solved,
                    status=status,
                    error=failure,
                    verifier=loaded,
                    seconds=run.budget.seconds,
                )
                self._tracing.end(served)
                # Kept before it is no longer running: at no moment it is neither.
                if self._keep is not None:
                    self._keep(served)
                self._live.end(served)
        return solved

    def _watched(self, loaded: Loaded) -> Verifier:
        return self._tracing.verifier(Metered(loaded.verifier, self.metrics))

    async def _answer(self, job: Job, run: Run, heard: _Heard | None) -> Solved:
        down = None
        if isinstance(pool := self._generators[job.plan.model], Pool):
            # Told at once; a search that is under way waits for its engine to come back.
            await pool.check()
        await self._answers.check(job.task.form)
        try:
            answer = await _unwrapped(job.plan.strategy(job.task, run))
        except VerifierUnavailable as error:
            if not self._fallback or heard is None:
                raise
            down = error.name
            answer = await _vote(job.plan.strategy, run, heard.candidates, error)
        except BudgetTooSmall:
            if run.failure is not None:
                raise run.failure from None
            if run.budget.exhausted != "shutdown":
                raise
            raise ShuttingDown from None
        if run.failure is not None and not answer.best.candidate.complete:
            # Half an answer is none: the engine, and not a limit that the request knew of, cut it off.
            raise run.failure
        answer = await demanded(answer, run, steps=job.plan.strategy.needs.continues)
        solved = Solved(
            plan=job.plan, task=job.task, run=run, answer=answer, seconds=run.budget.seconds, fallback=down
        )
        generator, form = self._generators[job.plan.model], job.task.form
        return replace(
            solved,
            thought_tokens=sum([await thought_tokens(c, form, generator) for c in solved.choices]),
        )


class _Noticed(Around):
    """A generator that says when it is first asked to generate, and tells engines the request's place."""

    def __init__(self, inner: Generator, begun: asyncio.Event, priority: int) -> None:
        super().__init__(inner)
        self._begun = begun
        self._priority = priority

    def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        self._begun.set()
        return self._inner.sample(prompt, replace(sampling, priority=self._priority), n=n, meter=meter)

    def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        self._begun.set()
        return self._inner.stream(prompt, replace(sampling, priority=self._priority), meter=meter)


class _Heard:
    """A verifier, and the whole answers to its last task that it was asked about."""

    def __init__(self, inner: Verifier) -> None:
        self._inner = inner
        self.name, self.kind = inner.name, inner.kind
        self._task: Task | None = None
        self._answers: dict[int, Candidate] = {}
        self._calls = 0

    @property
    def candidates(self) -> list[Candidate]:
        """In the order in which they were judged first, each once."""
        return list(self._answers.values())

    @property
    def busy(self) -> bool:
        """Whether it is being asked now."""
        return self._calls > 0

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        if task != self._task:
            self._task, self._answers = task, {}
        self._answers |= {c.node: c for c in candidates if c.complete and c.node not in self._answers}
        shown = [judged(candidate, task.form, self.kind) for candidate in candidates]
        self._calls += 1
        try:
            return await self._inner.score(task, shown)
        finally:
            self._calls -= 1


async def _vote(
    strategy: StrategyModel, run: Run, candidates: Sequence[Candidate], error: VerifierUnavailable
) -> Answer:
    """A majority vote in place of a verifier: among the answers there are already, else among new ones.

    Raises:
        VerifierUnavailable: there are none, and the budget allows no more.
    """
    if not any(candidate.complete for candidate in candidates):
        candidates = await run.collect(await run.start(), n=getattr(strategy, "n", FALLBACK_SAMPLES))
    if not candidates:
        raise error
    choices = await read(run, candidates)
    return by_votes(choices, [1.0] * len(choices))


async def _unwrapped(answering: Awaitable[Answer]) -> Answer:
    """What a strategy answers; when several of its tasks fail, the error that matters."""
    try:
        return await answering
    except BaseExceptionGroup as group:
        raise cause_of(group) from group
