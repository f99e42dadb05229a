"""A rule about code in an answer: it parses. Nothing is run."""

from __future__ import annotations

import ast
import asyncio
import json
import threading
import warnings
from collections.abc import Sequence
from typing import Literal, NoReturn

from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.concurrency import together
from mull.verifiers.fences import last_block

Language = Literal["python", "json"]

LONGEST = 100_000
"""Characters; longer code counts as wrong."""

# Warnings about the code (`"\d"`) are no business of ours; how to silence them is not kept per thread.
_silence = threading.Lock()


class SyntaxVerifier:
    """Whether the last fenced code block of an answer parses: 1 or 0; 0 without such a block.

    Args:
        name: The verifier's name.
        language: What it is parsed as; Python is that of the running interpreter.
    """

    kind: VerifierKind = "outcome"

    def __init__(self, name: str, *, language: Language = "python") -> None:
        self.name = name
        self._parses = _is_python if language == "python" else _is_json

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """1 for each candidate whose code parses, in order."""
        return await together(asyncio.to_thread(self._judge, candidate.text) for candidate in candidates)

    def _judge(self, text: str) -> Score:
        code = last_block(text)
        return Score(value=float(code is not None and len(code) <= LONGEST and self._parses(code)))


def _is_python(code: str) -> bool:
    try:
        with _silence, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _refused(name: str) -> NoReturn:
    # Python reads NaN and Infinity, which JSON does not have.
    raise ValueError(name)


def _is_json(code: str) -> bool:
    try:
        json.loads(code, parse_int=str, parse_float=str, parse_constant=_refused)
    except (ValueError, RecursionError):
        return False
    return True
