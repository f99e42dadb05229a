"""What came of a problem, and the file that remembers it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

Key = tuple[str, str, int]
"""Run, problem and repetition."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One candidate of a search."""

    answer: str | None
    correct: bool
    score: float | None
    tokens: int
    complete: bool
    confidence: float | None = None
    """Geometric mean probability of its tokens, where the request asked for log-probabilities."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One problem solved once: right or wrong, and what it cost."""

    run: str
    """Digest of everything the request asked for."""
    problem: str
    repeat: int
    correct: bool
    answer: str | None
    text: str
    finish: str
    stopped: str
    tokens: int
    """Generated, hidden and cancelled ones included."""
    prompt_tokens: int
    cached_tokens: int
    verifier_tokens: int
    engine_calls: int
    seconds: float
    """From request to answer, as the client saw it."""
    samples: tuple[Sample, ...] = ()

    @property
    def key(self) -> Key:
        """What it is the result of."""
        return self.run, self.problem, self.repeat


class Log:
    """Outcomes in a JSON Lines file that is only ever appended to, so that a run can be resumed.

    A last line that was cut off in the middle (by a crash or a full disk) is removed.

    Raises:
        ValueError: a line before the last is no outcome.
    """

    def __init__(self, path: Path) -> None:
        _trim(path)
        self.outcomes: dict[Key, Outcome] = {}
        for outcome in _read(path):
            self.outcomes[outcome.key] = outcome
        self._file: TextIO = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, outcome: Outcome) -> None:
        """Remember an outcome, on disk too."""
        self.outcomes[outcome.key] = outcome
        self._file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
        self._file.flush()


def _trim(path: Path) -> None:
    """Cut a file back to the end of its last whole line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        if whole < file.seek(0, os.SEEK_END):
            file.truncate(whole)


def _read(path: Path) -> Iterator[Outcome]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row: dict[str, Any] = json.loads(line)
                samples = tuple(Sample(**sample) for sample in row.pop("samples"))
                yield Outcome(samples=samples, **row)
            except (ValueError, TypeError, LookupError, AttributeError):
                raise ValueError(
                    f"{path}, line {number} is no result; remove it or give another --out"
                ) from None
