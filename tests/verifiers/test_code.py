"""Code against tests: which code, which tests, what share. What the sandbox holds is in test_sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mull.errors import InvalidRequest, VerifierUnavailable
from mull.verifiers.code import CodeVerifier
from mull.verifiers.sandbox import SandboxError

Make = Callable[..., Any]


class Pretended:
    """A sandbox in which a test passes when its text is part of the program."""

    def __init__(self, fault: str | None = None) -> None:
        self.ran: list[tuple[str, str]] = []
        self._fault = fault

    async def passes(self, program: str, test: str) -> bool:
        if self._fault is not None:
            raise SandboxError(self._fault)
        self.ran.append((program, test))
        return test in program


def answer(code: str) -> str:
    return f"Like this:\n```python\n{code}\n```\nDone."


@pytest.fixture
def score(task: Make, candidate: Make) -> Make:
    async def score(verifier: CodeVerifier, *texts: str, **fields: Any) -> list[float]:
        return [s.value for s in await verifier.score(task(**fields), [candidate(text) for text in texts])]

    return score


async def test_the_share_of_tests_passed(score: Make) -> None:
    sandbox: Any = Pretended()
    verifier = CodeVerifier("tests", sandbox, ["a", "b", "c", "d"])
    assert verifier.kind == "outcome"
    assert await score(verifier, answer("abcd"), answer("ab"), answer("x"), "abcd") == [1, 0.5, 0, 0]


async def test_equal_programs_run_once(score: Make) -> None:
    sandbox: Any = Pretended()
    verifier = CodeVerifier("tests", sandbox, ["a", "b"])
    assert await score(verifier, answer("a"), "Or so:\n" + answer("a"), answer("b")) == [0.5, 0.5, 0.5]
    assert sorted(sandbox.ran) == [("a\n", "a"), ("a\n", "b"), ("b\n", "a"), ("b\n", "b")]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [('["a", "b"]', 0.5), ("a", 1), ("a\nb", 0), ("[1, 2]", 0), ('"a"', 0)],
)
async def test_tests_come_with_the_request(score: Make, reference: str, expected: float) -> None:
    sandbox: Any = Pretended()
    assert await score(CodeVerifier("tests", sandbox), answer("a"), reference=reference) == [expected]


async def test_configured_tests_come_before_those_of_the_request(score: Make) -> None:
    sandbox: Any = Pretended()
    assert await score(CodeVerifier("tests", sandbox, ["a"]), answer("a"), reference="b") == [1]


@pytest.mark.parametrize("reference", [None, "", "[]", json.dumps(["a"] * 257)])
async def test_tests_are_needed_and_bounded(score: Make, reference: str | None) -> None:
    sandbox: Any = Pretended()
    with pytest.raises(InvalidRequest, match="verifier 'tests' needs tests") as caught:
        await score(CodeVerifier("tests", sandbox), answer("a"), reference=reference)
    assert caught.value.param == "reference"
    assert sandbox.ran == []


async def test_a_sandbox_that_fails_is_no_wrong_answer(score: Make) -> None:
    sandbox: Any = Pretended("no user namespaces")
    verifier = CodeVerifier("tests", sandbox, ["a"])
    with pytest.raises(VerifierUnavailable, match="no user namespaces") as caught:
        await score(verifier, answer("a"))
    assert caught.value.name == "tests"
    with pytest.raises(VerifierUnavailable, match="no user namespaces"):
        await verifier.check()
