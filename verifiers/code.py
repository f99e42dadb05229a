"""A verifier that runs the code in an answer against tests."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mull.errors import InvalidRequest, VerifierUnavailable
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.concurrency import together
from mull.verifiers.fences import last_block
from mull.verifiers.sandbox import Sandbox, SandboxError

MOST = 256
"""Tests of one request."""


class CodeVerifier:
    """The share of tests that the last fenced block of an answer passes, each in a sandbox of its own.

    The block is a Python program; it is run as a module (not as `__main__`), then the test in its scope. A
    test passes when it ends without an exception. An answer without a closed block scores 0.

    Args:
        name: The verifier's name.
        sandbox: Where programs run.
        tests: Python code, one text a test. Without any, the task's reference has them: a JSON list of texts,
            or else it is one test as it is.
    """

    kind: VerifierKind = "outcome"

    def __init__(self, name: str, sandbox: Sandbox, tests: Sequence[str] = ()) -> None:
        self.name = name
        self._sandbox = sandbox
        self._tests = tuple(tests)

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order; equal programs are run once.

        Raises:
            VerifierUnavailable: the sandbox does not come up.
            InvalidRequest: there are no tests, or too many.
        """
        tests = self._tests or self._referred(task.reference)
        blocks = [last_block(candidate.text) for candidate in candidates]
        programs = [program for program in dict.fromkeys(blocks) if program is not None]
        shares = await together(self._share(program, tests) for program in programs)
        found = dict(zip(programs, shares, strict=True))
        return [Score(value=0.0 if block is None else found[block]) for block in blocks]

    async def check(self) -> None:
        """Run a program that does nothing.

        Raises:
            VerifierUnavailable: the sandbox does not come up.
        """
        await self._passes("", "")

    async def _share(self, program: str, tests: Sequence[str]) -> float:
        passed = await together(self._passes(program, test) for test in tests)
        return sum(passed) / len(passed)

    async def _passes(self, program: str, test: str) -> bool:
        try:
            return await self._sandbox.passes(program, test)
        except SandboxError as error:
            message = f"verifier {self.name!r}: the sandbox does not come up: {error}"
            raise VerifierUnavailable(message, name=self.name) from error

    def _referred(self, reference: str | None) -> tuple[str, ...]:
        tests = () if reference is None or not reference.strip() else _read(reference)
        if not 1 <= len(tests) <= MOST:
            many = f"at most {MOST}, not {len(tests)}" if tests else "there are none"
            raise InvalidRequest(
                f"verifier {self.name!r} needs tests in the configuration or as the reference: {many}",
                param="reference",
            )
        return tests


def _read(reference: str) -> tuple[str, ...]:
    try:
        found = json.loads(reference)
    except (ValueError, RecursionError):
        return (reference,)
    several = isinstance(found, list) and all(isinstance(test, str) for test in found)
    return tuple(found) if several else (reference,)
