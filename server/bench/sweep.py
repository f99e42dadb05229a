"""Solving every problem with every run, through the server, as the API's users would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from mull.answers import Answers
from mull.server.bench.judge import judge
from mull.server.bench.outcomes import Log, Outcome
from mull.server.bench.problems import Problem
from mull.server.bench.spec import RunSpec, digest
from mull.server.bench.upstream import Refused, refusals


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Everything there is to measure."""

    runs: Sequence[RunSpec]
    problems: Sequence[Problem]
    model: str
    repeats: int = 1
    seed: int = 0
    """Repetition `i` asks with `seed + i`, in every run, so that all runs judge the same samples."""
    candidates: bool = False

    def request(self, run: RunSpec) -> dict[str, Any]:
        """A run's request, without messages and seed."""
        return run.request(model=self.model, candidates=self.candidates)

    def digest(self, run: RunSpec) -> str:
        """Names a run in the log by everything that its requests ask for."""
        return digest(self.request(run), self.seed)

    def repeats_of(self, run: RunSpec) -> int:
        """How often a run solves each problem."""
        return 1 if run.deterministic else self.repeats

    def missing(self, run: RunSpec, log: Log) -> list[tuple[Problem, int]]:
        """The problems and repetitions of a run that the log does not know."""
        name = self.digest(run)
        return [
            (problem, repeat)
            for repeat in range(self.repeats_of(run))
            for problem in self.problems
            if (name, problem.key, repeat) not in log.outcomes
        ]

    def done(self, run: RunSpec, log: Log) -> list[Outcome]:
        """The log's outcomes of a run, the repetitions of one problem side by side."""
        name, repeats = self.digest(run), range(self.repeats_of(run))
        keys = [(name, problem.key, repeat) for problem in self.problems for repeat in repeats]
        return [log.outcomes[key] for key in keys if key in log.outcomes]


async def measure(
    sweep: Sweep,
    log: Log,
    client: AsyncOpenAI,
    *,
    concurrency: int,
    told: Callable[[RunSpec, Outcome], None],
    refused: Callable[[RunSpec, Refused], None] | None = None,
) -> None:
    """Solve what the log does not know yet, run by run, `concurrency` requests at a time.

    Args:
        sweep: What to solve and how.
        log: What is known, and where to write what is found.
        client: The server.
        concurrency: Requests at a time.
        told: Called with each outcome.
        refused: Called with a run that the server refuses, after which the next run is begun; without it, a
            refusal ends all.

    Raises:
        Failure: the server refused a request or went away; what is done is in the log.
    """

    async def work(run: RunSpec, jobs: Iterator[tuple[Problem, int]]) -> None:
        for problem, repeat in jobs:
            outcome = await _solve(sweep, run, problem, repeat, client, answers)
            log.add(outcome)
            told(run, outcome)

    async with Answers() as answers:
        for run in sweep.runs:
            jobs = iter(sweep.missing(run, log))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(concurrency):
                        group.create_task(work(run, jobs))
            except ExceptionGroup as failed:
                first = failed.exceptions[0]
                if refused is None or not isinstance(first, Refused):
                    raise first from None
                refused(run, first)


async def _solve(
    sweep: Sweep, run: RunSpec, problem: Problem, repeat: int, client: AsyncOpenAI, answers: Answers
) -> Outcome:
    request = sweep.request(run)
    # The SDK knows OpenAI's fields by name and takes all others apart.
    beyond = {name: request.pop(name) for name in ("ttc", "top_k", "min_p") if name in request}
    request |= {"messages": [{"role": "user", "content": problem.question}], "seed": sweep.seed + repeat}
    started = time.perf_counter()
    with refusals(client, f"{run.label}: "):
        completion: ChatCompletion = await client.chat.completions.create(**request, extra_body=beyond)
    seconds = time.perf_counter() - started
    return await judge(sweep.digest(run), run, problem, repeat, completion, seconds, answers)
