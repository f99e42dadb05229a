"""Many engines, those who ask them, and the clock of all: a discrete-event simulation."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.scaling.cache import Prefix
from benchmarks.scaling.costs import StepCost
from benchmarks.scaling.engine import Engine, EngineLimits, Generation
from benchmarks.scaling.routes import Route
from benchmarks.scaling.solving import Request, Solving
from benchmarks.scaling.work import Job, Work


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds that things take, measured."""

    step: StepCost
    request: float = 0.0
    """Of a server's processor for each request to an engine, half of it before, half after."""
    way: float = 0.0
    """Between a server and an engine, there and back."""

    def stretched(self, by: float) -> Costs:
        """The same where all takes longer, as on a machine that has more to do."""
        step = StepCost(**{name: by * seconds for name, seconds in vars(self.step).items()})
        return Costs(step=step, request=by * self.request, way=by * self.way)


@dataclass(eq=False)
class Member:
    """An engine as the router sees it."""

    name: str
    engine: Engine[Request]
    in_flight: int = 0
    stepping: bool = False
    up: bool = True
    lives: int = 0
    """How often it died: what belongs to an earlier life does nothing more."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A job that has ended."""

    job: Job
    arrived: float
    ended: float


class Cluster:
    """Replicas of one model behind a router, and servers in front that cost time themselves.

    Args:
        costs: What things take.
        replicas: How many engines.
        route: Who gets a request.
        limits: What an engine has room for.
        served: Engines for each server in front.
        slower: By how much an engine is slower than the costs say, by its number.
    """

    def __init__(
        self,
        costs: Costs,
        *,
        replicas: int,
        route: Route,
        limits: EngineLimits | None = None,
        served: int = 2,
        slower: dict[int, float] | None = None,
    ) -> None:
        self.costs, self.route = costs, route
        limits, slower = limits or EngineLimits(), slower or {}
        self.members = [
            Member(f"model/{number}", Engine(costs.step, limits, slower.get(number, 1.0)))
            for number in range(replicas)
        ]
        self.now = 0.0
        self.done: list[Done] = []
        self.answered: list[tuple[float, int, int, int]] = []
        """Of each request: when it ended; tokens of its prompt, those that were cached, tokens generated."""
        self.begun = self.failovers = 0
        self._there: Sequence[Member] = self.members
        self._free_at = [0.0] * -(-replicas // served)
        """When each server in front has done what it is to do."""
        self._stranded: list[Generation[Request]] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def at(self, when: float, what: Callable[..., None], *arguments: Any) -> None:
        """Have something happen."""
        heapq.heappush(self._events, (when, next(self._order), what, arguments))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            self.now, _, what, arguments = heapq.heappop(self._events)
            what(*arguments)

    def poisson(self, work: Work, rate: float, until: float, seed: int) -> None:
        """Jobs that come by themselves, so many a second."""
        draw = random.Random(seed)

        def come() -> None:
            self.begin(next(work), lambda: None)
            if (after := self.now + draw.expovariate(rate)) < until:
                self.at(after, come)

        self.at(draw.expovariate(rate), come)

    def clients(self, work: Work, count: int, until: float = float("inf")) -> None:
        """So many who each begin a job when their last one has ended."""

        def come() -> None:
            if self.now < until and (job := next(work, None)) is not None:
                self.begin(job, come)

        for _ in range(count):
            self.at(0.0, come)

    def begin(self, job: Job, then: Callable[[], None]) -> None:
        """Work on a job; `then` is called at its end."""
        server = self.begun % len(self._free_at)
        self.begun += 1
        self._ask(Solving(job, server, self.now, then), 0)

    def die(self, number: int, seconds: float) -> None:
        """An engine is killed now and is back after so many seconds; what it had goes on elsewhere."""
        member = self.members[number]
        member.up = member.stepping = False
        member.lives += 1
        member.in_flight = 0
        self._there = [each for each in self.members if each.up]
        for generation in member.engine.drop():
            self.failovers += 1
            self._give(generation)
        self.at(self.now + seconds, self._return, member)

    def _return(self, member: Member) -> None:
        member.up = True
        self._there = [each for each in self.members if each.up]
        stranded, self._stranded = self._stranded, []
        for generation in stranded:
            self._give(generation)

    def _ask(self, solving: Solving, level: int) -> None:
        """For all of a level that can begin, as fast as the server in front can."""
        for place in solving.ready(level):
            parent, tokens, _ = solving.job.tree.steps[place]
            prompt = solving.whole[parent]
            request = Request(solving, place, level)
            self.at(self._served(solving), self._give, Generation(prompt, Prefix(tokens, prompt), request))

    def _served(self, solving: Solving) -> float:
        """When the job's server has done its half of what a request costs it."""
        begins = max(self.now, self._free_at[solving.server])
        self._free_at[solving.server] = begins + self.costs.request / 2
        return self._free_at[solving.server]

    def _give(self, generation: Generation[Request]) -> None:
        if not self._there:
            self._stranded.append(generation)
            return
        job = generation.task.solving.job
        member = self.route.choose(self._there, job.root, generation.prompt)
        member.in_flight += 1
        self.at(self.now + self.costs.way / 2, self._arrive, member, member.lives, generation)

    def _arrive(self, member: Member, life: int, generation: Generation[Request]) -> None:
        if life != member.lives:
            self.failovers += 1
            self._give(generation)
            return
        member.engine.waiting.append(generation)
        if not member.stepping:
            self._step(member)

    def _step(self, member: Member) -> None:
        member.stepping = True
        self.at(self.now + member.engine.begin(), self._stepped, member, member.lives)

    def _stepped(self, member: Member, life: int) -> None:
        if life != member.lives:
            return
        for generation in member.engine.end():
            self.at(self.now + self.costs.way / 2, self._heard, member, life, generation)
        member.stepping = False
        if member.engine.busy:
            self._step(member)

    def _heard(self, member: Member, life: int, generation: Generation[Request]) -> None:
        self.at(self._served(generation.task.solving), self._ended, member, life, generation)

    def _ended(self, member: Member, life: int, generation: Generation[Request]) -> None:
        member.in_flight -= life == member.lives
        self.route.ended(generation.whole, member.name)
        given, (solving, place, level) = generation.prompt.end, generation.task
        self.answered.append((self.now, given, generation.cached or 0, generation.whole.end - given))
        solving.whole[place] = generation.whole
        solving.open[level + 1] -= 1
        self._ask(solving, level + 1)
        if not any(solving.open):
            self.done.append(Done(job=solving.job, arrived=solving.arrived, ended=self.now))
            solving.then()
