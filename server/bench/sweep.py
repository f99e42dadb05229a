"""Solving every problem with every run, through the server, as the API's users would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI
from openai.types.chat import ChatCompletion

from mull.answers import Answers
from mull.server.bench.outcomes import Log, Outcome, Sample
from mull.server.bench.problems import Problem
from mull.server.bench.spec import RunSpec, digest
from mull.server.exits import FAILED, NO_SERVER, Failure, no_server


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
    sweep: Sweep, log: Log, client: AsyncOpenAI, *, concurrency: int, told: Callable[[RunSpec, Outcome], None]
) -> None:
    """Solve what the log does not know yet, run by run, `concurrency` requests at a time.

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
                raise failed.exceptions[0] from None


async def _solve(
    sweep: Sweep, run: RunSpec, problem: Problem, repeat: int, client: AsyncOpenAI, answers: Answers
) -> Outcome:
    request = sweep.request(run)
    # The SDK knows OpenAI's fields by name and takes all others apart.
    beyond = {name: request.pop(name) for name in ("ttc", "top_k", "min_p") if name in request}
    request |= {"messages": [{"role": "user", "content": problem.question}], "seed": sweep.seed + repeat}
    started = time.perf_counter()
    with _refusals(client, f"{run.label}: "):
        completion: ChatCompletion = await client.chat.completions.create(**request, extra_body=beyond)
    seconds = time.perf_counter() - started
    return await _outcome(sweep.digest(run), run, problem, repeat, completion, seconds, answers)


async def _outcome(
    name: str,
    run: RunSpec,
    problem: Problem,
    repeat: int,
    completion: ChatCompletion,
    seconds: float,
    answers: Answers,
) -> Outcome:
    """Judge a completion: the answer in its text against the right one."""
    ttc: dict[str, Any] | None = (completion.model_extra or {}).get("ttc")
    if ttc is None or completion.usage is None:
        raise Failure(f"{run.label}: the server's answers carry no `ttc` or no `usage`; is it mull?")
    if fallback := ttc.get("fallback"):
        raise Failure(
            f"{run.label}: verifier {fallback['unavailable']} is down and {fallback['strategy']} answered"
        )
    choice, usage = completion.choices[0], completion.usage
    text = choice.message.content or ""
    # The server's own rule: what was cut off has no answer.
    answer = await answers.extract(text) if choice.finish_reason == "stop" else None
    details = usage.prompt_tokens_details
    return Outcome(
        run=name,
        problem=problem.key,
        repeat=repeat,
        correct=await _right(answer, problem, answers),
        answer=answer,
        text=text,
        finish=choice.finish_reason,
        stopped=ttc["stopped"],
        tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=(details.cached_tokens if details else None) or 0,
        verifier_tokens=ttc["verifier_tokens"],
        engine_calls=ttc["engine_calls"],
        seconds=round(seconds, 4),
        samples=tuple([await _sample(c, problem, answers) for c in _independent(ttc)]),
    )


def _independent(ttc: dict[str, Any]) -> list[dict[str, Any]]:
    """The candidates, where each is one sample of its own; a step search's share their beginnings."""
    candidates: list[dict[str, Any]] = ttc.get("candidates", [])
    return candidates if len(candidates) == ttc["samples"] else []


async def _sample(candidate: dict[str, Any], problem: Problem, answers: Answers) -> Sample:
    return Sample(
        answer=candidate["answer"],
        correct=await _right(candidate["answer"], problem, answers),
        score=candidate["score"],
        tokens=candidate["tokens"],
        complete=candidate["finish_reason"] == "stop",
    )


async def _right(answer: str | None, problem: Problem, answers: Answers) -> bool:
    return answer is not None and await answers.equal(answer, problem.answer)


async def served_model(client: AsyncOpenAI) -> str:
    """The server's first model.

    Raises:
        Failure: no server answers, or it refuses.
    """
    with _refusals(client):
        cards = (await client.with_options(max_retries=0).models.list()).data
    if not cards:
        raise Failure(f"{client.base_url} serves no model")
    return cards[0].id


@contextmanager
def _refusals(client: AsyncOpenAI, prefix: str = "") -> Iterator[None]:
    """The SDK's errors as failures in one line."""
    try:
        yield
    except APIConnectionError as error:
        raise no_server(str(client.base_url), str(error.__cause__ or error).lower()) from None
    except APIStatusError as error:
        code = NO_SERVER if error.code == "not_ready" else FAILED
        raise Failure(f"{prefix}{_message(error)}", code) from None
    except APIError as error:
        raise Failure(f"{prefix}{error.message}") from None


def _message(error: APIStatusError) -> str:
    """What the server says, without the SDK's wrapping."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message) if message else f"the server answered {error.status_code}; its URL ends in /v1"
