"""Whether an answer is right, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import Choice

from mull.answers import Answers
from mull.server.bench.outcomes import Outcome, Sample
from mull.server.bench.problems import Problem
from mull.server.bench.spec import RunSpec
from mull.server.exits import Failure


async def judge(
    name: str,
    run: RunSpec,
    problem: Problem,
    repeat: int,
    completion: ChatCompletion,
    seconds: float,
    answers: Answers,
) -> Outcome:
    """Judge a completion: the answer in its text against the right one, and those of its candidates.

    Raises:
        Failure: it does not come from mull, or not from the strategy that was asked.
    """
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
    sure = {c.message.content or "": _confidence(c) for c in completion.choices}
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
        samples=tuple([await _sample(c, problem, answers, sure) for c in _independent(ttc)]),
    )


def _independent(ttc: dict[str, Any]) -> list[dict[str, Any]]:
    """The candidates, where each is one sample of its own; a step search's share their beginnings."""
    candidates: list[dict[str, Any]] = ttc.get("candidates", [])
    return candidates if len(candidates) == ttc["samples"] else []


async def _sample(
    candidate: dict[str, Any], problem: Problem, answers: Answers, sure: Mapping[str, float | None]
) -> Sample:
    return Sample(
        answer=candidate["answer"],
        correct=await _right(candidate["answer"], problem, answers),
        score=candidate["score"],
        tokens=candidate["tokens"],
        complete=candidate["finish_reason"] == "stop",
        confidence=sure.get(candidate["text"]),
    )


def _confidence(choice: Choice) -> float | None:
    """The geometric mean probability of a choice's tokens."""
    content = choice.logprobs.content if choice.logprobs else None
    return math.exp(fmean(token.logprob for token in content)) if content else None


async def _right(answer: str | None, problem: Problem, answers: Answers) -> bool:
    return answer is not None and await answers.equal(answer, problem.answer)
