"""Looks for all that would spoil training on a file of rows, before any training starts."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from mull.training.data.contamination import Evaluation
from mull.training.data.content import asked, prompt, written
from mull.training.data.kinds import Kind
from mull.training.data.report import Fault, Report
from mull.training.data.rows import (
    FORMATS,
    Difficulty,
    Grpo,
    Outcome,
    Preference,
    Problem,
    Rollout,
    Row,
    Sft,
    Stepwise,
    Unpaired,
    faults_of,
    lines,
)

SHOWN = 5
"""Line numbers that a report names of each fault."""

Finding = tuple[str, bool]
"""What is wrong with a row, and whether that is fatal."""


def check(
    path: Path, kind: Kind, *, against: Sequence[Problem] | None = None, overlap: float = 0.5
) -> Report:
    """Check the rows of a file one by one, against each other and against evaluation problems.

    Args:
        path: JSON Lines.
        kind: the format that the rows should have.
        against: evaluation problems, none of which may be in the file.
        overlap: a row holds an evaluation problem when it has this share of its runs of 13 words.

    Raises:
        TrainingError: the file cannot be read.
    """
    checker = _Checker(FORMATS[kind], Evaluation(against, overlap=overlap) if against else None)
    found: dict[Finding, list[int]] = {}
    count = 0
    for number, line in lines(path):
        count += 1
        for finding in dict.fromkeys(checker.findings(line)):
            found.setdefault(finding, []).append(number)
    faults = [
        Fault(what=what, fatal=fatal, rows=len(at), lines=at[:SHOWN]) for (what, fatal), at in found.items()
    ]
    if not count:
        faults.append(Fault(what="there are no rows", fatal=True, rows=0, lines=()))
    if len(checker.labels) == 1:
        what = f"all labels are {checker.labels.pop():g}, so that nothing can be told apart"
        faults.append(Fault(what=what, fatal=True, rows=count, lines=()))
    faults.sort(key=lambda fault: (not fault.fatal, -fault.rows))
    return Report(path=path, kind=kind, rows=count, faults=tuple(faults))


class _Checker:
    """Checks rows in turn and remembers what later ones are compared with."""

    def __init__(self, row: type[Row], evaluation: Evaluation | None) -> None:
        self.labels: set[float] = set()
        self._row = row
        self._evaluation = evaluation
        self._columns = {"prompt"} if row is Problem else set(row.model_fields) - set(Row.model_fields)
        self._seen: set[bytes] = set()
        self._ids: set[str] = set()

    def findings(self, line: bytes) -> Iterator[Finding]:
        try:
            row = self._row.model_validate_json(line)
        except ValidationError as error:
            yield from ((fault, True) for fault in faults_of(error))
            return
        yield from _of_prompt(row)
        yield from _of_answers(row)
        if isinstance(row, Problem):
            if row.id in self._ids:
                yield "the id of an earlier problem", True
            self._ids.add(row.id)
        digest = hashlib.blake2b(row.model_dump_json(include=self._columns).encode(), digest_size=16).digest()
        if digest in self._seen:
            yield "a duplicate of an earlier row", False
        self._seen.add(digest)
        if self._evaluation is not None and (found := self._evaluation.found_in(row)):
            yield found, True
        self.labels.update(_labels(row))


def _of_prompt(row: Row) -> Iterator[Finding]:
    messages = prompt(row)
    if not messages or messages[-1].role not in ("user", "tool"):
        yield "the last message before the answer is not the user's", True
    if not all(text.strip() for text in asked(row)):
        yield "a message of the user is empty", True


def _of_answers(row: Row) -> Iterator[Finding]:
    answers = written(row)
    if isinstance(row, Rollout):
        if not answers:
            yield "no samples", False
        elif not all(text.strip() for text in answers):
            yield "an empty sample", False
        return
    if not all(text.strip() for text in answers):
        yield "an empty answer", True
    match row:
        case Sft(messages=[*_, last]) if last.role != "assistant":
            yield "the last message is not the assistant's", True
        case Preference() if answers[0].strip() == answers[1].strip():
            yield "chosen and rejected are the same", True
        case Stepwise():
            if not all(step.strip() for step in row.completions):
                yield "an empty step", True
            if all(label is None for label in row.labels):
                yield "no step has a label", False
        case Problem(answer=str() as answer) | Grpo(answer=answer) if not answer.strip():
            yield "an empty reference answer", True


def _labels(row: Row) -> Iterator[float]:
    match row:
        case Unpaired() | Outcome():
            yield row.label
        case Stepwise():
            yield from (label for label in row.labels if label is not None)
        case Difficulty():
            yield row.rate
