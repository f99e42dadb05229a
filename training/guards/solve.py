"""True rewards: problems solved greedily, and compared with their references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mull.training.data.rows import Problem
from mull.training.errors import TrainingError
from mull.training.guards.greedy import Greedy, greedy
from mull.training.rollouts import judge, messages


def answered(problems: Sequence[Problem], field: str) -> list[Problem]:
    """The problems, if each has an answer.

    Raises:
        TrainingError: one has none.
    """
    for problem in problems:
        if problem.answer is None:
            raise TrainingError(f"{field}: problem {problem.id} has no `answer`", param=field)
    return list(problems)


def solve(
    model: Any, tokenizer: Any, problems: Sequence[Problem], max_tokens: int, bf16: bool
) -> list[Greedy]:
    """The greedy answer to each problem."""
    return greedy(model, tokenizer, [messages(p.prompt) for p in problems], max_tokens=max_tokens, bf16=bf16)


def right(problems: Sequence[Problem], answers: Sequence[Greedy]) -> list[float]:
    """1 for each answer that came to its end and equals its problem's, else 0."""
    verdicts = judge([(a.text, p.answer) for p, a in zip(problems, answers, strict=True)])
    return [float(bool(v.right) and a.ended) for v, a in zip(verdicts, answers, strict=True)]
