"""Whether code parses."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from mull.verifiers.syntax import Language, SyntaxVerifier

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("language", "code", "value"),
    [
        ("python", "def f(x):\n    return x + 1\n", 1),
        ("python", "def f(x)\n    return x + 1\n", 0),
        ("python", "print('\\d', 1 is 1)\n", 1),
        ("python", "x = '\0'\n", 0),
        ("python", "(" * 5000 + ")" * 5000 + "\n", 0),
        ("python", "x = 1\n" * 50_000, 0),
        ("python", "", 1),
        ("json", '{"a": [1, 2]}\n', 1),
        ("json", "{'a': 1}\n", 0),
        ("json", "[" * 90_000 + "\n", 0),
        ("json", "", 0),
        ("json", "[NaN]\n", 0),
        ("json", "9" * 5_000 + "\n", 1),
    ],
)
async def test_the_last_block_is_parsed(
    task: Make, candidate: Make, language: Language, code: str, value: float
) -> None:
    verifier = SyntaxVerifier("parses", language=language)
    answer = f"First:\n```\n)(\n```\nThen:\n```\n{code}```\nDone."
    (score,) = await verifier.score(task(), [candidate(answer)])
    assert score.value == value


async def test_an_answer_without_code_does_not_parse(task: Make, candidate: Make) -> None:
    scores = await SyntaxVerifier("parses").score(task(), [candidate("x = 1"), candidate("")])
    assert [score.value for score in scores] == [0, 0]


async def test_warnings_stay_as_they_were(task: Make, candidate: Make) -> None:
    before = list(warnings.filters)
    odd = candidate("```\nx = '\\d'\n```")
    verifier = SyntaxVerifier("parses")
    scores = await asyncio.gather(*(verifier.score(task(), [odd] * 8) for _ in range(8)))
    assert {score.value for batch in scores for score in batch} == {1}
    assert list(warnings.filters) == before
