"""Problems with known answers, from JSON Lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mull.server.bench.spec import digest


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question, its right answer and, where known, how many steps a solution takes."""

    key: str
    """Names it in the log: its line and a digest of its content."""
    question: str
    answer: str
    steps: int | None = None


def read_problems(path: Path, limit: int | None = None) -> list[Problem]:
    """The first `limit` problems of a file.

    A line is an object with `question` and `answer`; `n_steps`, or the length of `steps`, is optional.

    Raises:
        ValueError: a line is not such an object, or there is none.
    """
    problems: list[Problem] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if limit is not None and len(problems) >= limit:
                break
            if line.strip():
                try:
                    problems.append(_problem(number, json.loads(line)))
                except (ValueError, TypeError, LookupError) as error:
                    why = f"no {error}" if isinstance(error, LookupError) else error
                    raise ValueError(
                        f"{path}, line {number}: {why}; "
                        'a problem is an object like {"question": "What is 2+2?", "answer": "4"}'
                    ) from None
    if not problems:
        raise ValueError(f"{path} holds no problem")
    return problems


def _problem(number: int, row: Any) -> Problem:
    if not isinstance(row, dict):
        raise ValueError("not an object")
    question, answer, steps = row["question"], row["answer"], row.get("n_steps", row.get("steps"))
    if not isinstance(question, str) or not isinstance(answer, str | int | float) or isinstance(answer, bool):
        raise ValueError("question must be a string, answer a string or a number")
    if isinstance(steps, list):
        steps = len(steps)
    if steps is not None and not isinstance(steps, int):
        raise ValueError("n_steps must be an integer")
    key = f"{number}:{digest(question, str(answer))}"
    return Problem(key=key, question=question, answer=str(answer), steps=steps)
