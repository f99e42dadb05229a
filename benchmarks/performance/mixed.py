"""Measure 12: requests of all sizes from several keys, with places in the engine's queue and without."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import psutil
from benchmarks.performance.figures import Figure, Found, Target, quantile, ratios
from benchmarks.performance.problems import MODELS, questions, task
from benchmarks.performance.stage import Free

from mull.answers import Answers
from mull.budget import Limits
from mull.engines.launch import EngineSpec, launch, stop
from mull.engines.pool import Pool
from mull.engines.replica import Replica
from mull.engines.vllm import VLLMGenerator
from mull.run import Run
from mull.server.callers import Caller
from mull.server.choose import Plan
from mull.server.metrics import Metrics
from mull.server.queueing.admission import Admission
from mull.server.queueing.expected import in_flight
from mull.server.service import Job
from mull.server.settings import AdmissionSettings
from mull.strategies.base import StrategyModel
from mull.strategies.beam_search import BeamSearch
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.single import Single
from mull.types import Task

SEQUENCES = 32
"""The engine has so many under way at a time; admission lets eight times as many in."""
SINGLE, VOTE, BEAM = Single(), MajorityVote(n=16), BeamSearch(width=4, expand=4)
LOAD: dict[str, dict[StrategyModel, int]] = {
    "flooding": {VOTE: 12, BEAM: 12},
    "second": {SINGLE: 28, VOTE: 3, BEAM: 3},
    "third": {SINGLE: 20, BEAM: 4},
}
"""Requests of each key in a round."""
PRESSURE = 1.25
"""How fast requests come, over how fast they are solved where all of them are there at once."""

LOOK = 0.005
"""Seconds between looks at the clock."""

Latencies = dict[str, list[float]]
"""Seconds of the engine from a request's coming to its answer, by key."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request that comes after a part of a round."""

    at: float
    key: str
    strategy: StrategyModel
    task: Task


async def measure(rounds: int) -> Found:
    """Each round's requests both ways, one after the other."""
    async with _serving() as serving:
        await serving.play(_asks(-2), span=0, placed=False)
        began = serving.clock.now
        await serving.play(_asks(-1), span=0, placed=False)
        span = (serving.clock.now - began) / PRESSURE
        taken: dict[bool, list[Latencies]] = {True: [], False: []}
        for turn in range(rounds):
            for placed in (True, False) if turn % 2 else (False, True):
                taken[placed].append(await serving.play(_asks(turn), span=span, placed=placed))
    return Found(figures=[_figure(taken, "p95", 0.95, 1.0), _figure(taken, "p50", 0.5, 1.05)])


def _figure(taken: Mapping[bool, Sequence[Latencies]], what: str, part: float, bound: float) -> Figure:
    def quantiles(placed: bool, keys: Sequence[str]) -> list[float]:
        return [quantile([s for key in keys for s in found[key]], part) for found in taken[placed]]

    each = (f"{key} {ratios(quantiles(True, [key]), quantiles(False, [key])).median:.2f}" for key in LOAD)
    ours, limit = quantiles(True, [*LOAD]), quantiles(False, [*LOAD])
    return Figure(
        measure=12,
        what=f"mixed load: {what} of all latencies, with places in the engine's queue over without",
        value=ratios(ours, limit),
        ours=statistics.median(ours),
        limit=statistics.median(limit),
        sides="s",
        target=Target(bound=bound, side="at most"),
        note=f"by key: {', '.join(each)}",
    )


class Timed(Protocol):
    """A process."""

    def cpu_times(self) -> Any:
        """The `user` and `system` time that it has taken, in seconds."""


class Caching(Protocol):
    """An engine with a cache."""

    async def reset_prefix_cache(self) -> bool:
        """Empty it."""


class Clock:
    """The engine's processor time: what else the machine does meanwhile does not count.

    Where there is nothing to do, it is put forward.
    """

    def __init__(self, engine: Timed) -> None:
        self._engine = engine
        self._forward = 0.0

    @property
    def now(self) -> float:
        """Seconds."""
        times = self._engine.cpu_times()
        return float(times.user + times.system) + self._forward

    async def until(self, when: float, at_work: Collection[object]) -> None:
        """Wait as long as anybody is at work."""
        while (now := self.now) < when:
            if not at_work:
                self._forward += when - now
            await asyncio.sleep(LOOK)


class Serving:
    """An engine behind admission, as in the server."""

    def __init__(self, engine: Caching, pool: Pool, answers: Answers, clock: Clock) -> None:
        self.clock = clock
        self._engine = engine
        self._pool = pool
        self._answers = answers
        self._admission = Admission(AdmissionSettings(queued=10_000, seconds=3600), Metrics())

    async def play(self, asks: Sequence[Ask], *, span: float, placed: bool) -> Latencies:
        """Let requests come within `span` seconds, and wait for all answers; nothing is in the cache."""
        await self._engine.reset_prefix_cache()
        found: Latencies = {key: [] for key in LOAD}
        at_work: set[asyncio.Task[None]] = set()
        began = self.clock.now

        async def one(ask: Ask) -> None:
            came = self.clock.now
            await self._solve(ask, placed)
            found[ask.key].append(self.clock.now - came)

        async with asyncio.TaskGroup() as group:
            for ask in sorted(asks, key=lambda ask: ask.at):
                await self.clock.until(began + ask.at * span, at_work)
                at_work.add(new := group.create_task(one(ask)))
                new.add_done_callback(at_work.discard)
        return found

    async def _solve(self, ask: Ask, placed: bool) -> None:
        model, admission = self._pool.model, self._admission
        plan = Plan(model=model, alias=model, name="", strategy=ask.strategy, verifier=None, limits=Limits())
        job = Job(plan=plan, task=ask.task)
        cost, generations = admission.expected.cost(job), in_flight(plan)
        async with admission.turn(
            Caller(owner=ask.key), request=job.id, cost=cost, generations=generations
        ) as turn:
            sampling = replace(ask.task.sampling, priority=turn.priority if placed else 0)
            wanted = replace(ask.task, sampling=sampling)
            run = Run(task=wanted, generator=self._pool, answers=self._answers, verifier=Free())
            await ask.strategy(wanted, run)
            turn.usage = run.usage
            admission.expected.learn(plan, run.usage.completion)


@asynccontextmanager
async def _serving() -> AsyncIterator[Serving]:
    async with AsyncExitStack() as stack:
        options = {"max_num_seqs": SEQUENCES}
        spec = EngineSpec(name="mull-tiny", model=str(MODELS / "policy"), options=options)
        engines = await launch([spec])
        stack.push_async_callback(stop, engines)
        answers = await stack.enter_async_context(Answers())
        pool = Pool("mull-tiny")
        stack.push_async_callback(pool.close)
        pool.add(Replica("mull-tiny", VLLMGenerator(engines["mull-tiny"], model="mull-tiny")))
        [process] = engines["mull-tiny"].engine_core.resources.engine_manager.processes
        yield Serving(engines["mull-tiny"], pool, answers, Clock(psutil.Process(process.pid)))


def _asks(turn: int) -> list[Ask]:
    """A round's requests: they come at any time, as if each key's users knew nothing of one another."""
    rng, asked = random.Random(turn), iter(_questions(turn))
    return [
        Ask(at=rng.random(), key=key, strategy=strategy, task=task(next(asked), seed=turn + 2))
        for key, kinds in LOAD.items()
        for strategy, count in kinds.items()
        for _ in range(count)
    ]


def _questions(turn: int) -> list[str]:
    """Others in each round."""
    each = sum(sum(kinds.values()) for kinds in LOAD.values())
    return questions(each * (turn + 3))[each * (turn + 2) :]
