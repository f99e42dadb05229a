"""Training rows from served searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mull.answers import Answers
from mull.training.data.kinds import Kind
from mull.training.data.labels import steps_of
from mull.training.data.rows import (
    FORMATS,
    Problem,
    Row,
    assistant,
)
from mull.training.data.trace_sources import source_at
from mull.training.data.traces import Trace, leaves, path_text, read_feedback, read_traces
from mull.training.data.truth import How, Truth, truth

Purpose = Literal["prm", "orm", "dpo", "grpo", "sft"]

FORMAT: dict[Purpose, Kind] = {
    "prm": "stepwise",
    "orm": "outcome",
    "dpo": "preference",
    "grpo": "grpo",
    "sft": "sft",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One search and what is known of its answers: texts that differ, each right or wrong."""

    trace: Trace
    truth: Truth
    judged: tuple[tuple[str, bool], ...]
    """Leaves whose verdict is known, copies included."""
    unknown: tuple[str, ...] = ()
    """Leaves of which nothing is known."""

    @property
    def distinct(self) -> dict[str, bool]:
        """Verdicts by text."""
        return dict(self.judged)


@dataclass(kw_only=True)
class Harvest:
    """The rows, and what was left out."""

    rows: list[Row] = field(default_factory=list)
    traces: int = 0
    """Traces read."""
    used: Counter[str] = field(default_factory=Counter)
    """Traces that gave rows, by how their truth is known."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Traces that gave none, by the reason."""


async def harvest(
    place: Path | str,
    purpose: Purpose,
    *,
    labels: How | None = None,
    min_agreement: float = 0.7,
    hard: bool = False,
    pairs: int = 2,
) -> Harvest:
    """Turn the traces that servers kept into rows of training data.

    Args:
        place: `traces.dir` of the server, or `store.url` of several.
        purpose: What is to be trained: tells the format of the rows.
        labels: How it may be known what is right; None for the best there is in each trace.
        min_agreement: Share of the answers that a consensus needs.
        hard: For `prm`: a step is labelled 1 if any answer that goes on from it is right, else 0.
        pairs: For `dpo`: most pairs of a trace.

    Raises:
        TrainingError: there are no traces.
    """
    make: dict[Purpose, Callable[[Case], list[dict[str, Any]]]] = {
        "prm": lambda case: stepwise(case, hard=hard),
        "orm": outcomes,
        "dpo": lambda case: preferences(case, most=pairs),
        "sft": demonstrations,
        "grpo": questions,
    }
    source = source_at(place)
    found, feedback, asked = Harvest(), read_feedback(source), set[str]()
    async with Answers() as answers:
        for trace in read_traces(source, found.dropped):
            found.traces += 1
            ended = leaves(trace) if (fault := _fault(trace)) is None else []
            known = None
            if fault is None:
                known = await truth(
                    trace,
                    ended,
                    feedback.get(trace.id),
                    answers,
                    labels=labels,
                    min_agreement=min_agreement,
                )
            if known is None:
                found.dropped[fault or "nobody knows which answer is right"] += 1
                continue
            judged = tuple(
                (leaf.text, right)
                for leaf, right in zip(ended, known.right, strict=True)
                if right is not None
            )
            unknown = tuple(
                leaf.text for leaf, right in zip(ended, known.right, strict=True) if right is None
            )
            rows = make[purpose](Case(trace=trace, truth=known, judged=judged, unknown=unknown))
            problem = _problem(trace)
            if purpose == "grpo" and problem in asked:
                found.dropped["the same prompt again"] += 1
                continue
            if not rows:
                found.dropped[NOTHING[purpose]] += 1
                continue
            asked.add(problem)
            found.used[known.how] += 1
            origin = {"prompt": trace.messages, "problem": problem, "source": _source(trace, known)}
            found.rows += [FORMATS[FORMAT[purpose]].model_validate(origin | row) for row in rows]
    return found


NOTHING: dict[Purpose, str] = {
    "prm": "no finished answer whose steps are judged",
    "orm": "no finished answer that is judged",
    "dpo": "not both a right and a wrong answer",
    "grpo": "the right answer is not known",
    "sft": "no right answer",
}


def stepwise(case: Case, *, hard: bool = False) -> list[dict[str, Any]]:
    """A row for each distinct answer: the label of a step is the share of right ones of all that begin so.

    Follows Math-Shepherd (Wang et al. 2023, arXiv:2312.08935), with the search's own branches as its
    rollouts. Each beginning is labelled in the first row that has it, in others null, so that the steps near
    the root, which all answers share, do not outweigh the rest. Branches that were pruned before any answer
    ended are not in any row.
    """
    shares = _Shares(case)
    rows, seen = [], set[str]()
    for text in case.distinct:
        steps = steps_of(text, case.trace.delimiter)
        prefixes = list(_prefixes(steps))
        labels = [None if prefix in seen else shares.of(prefix, hard=hard) for prefix in prefixes]
        seen.update(prefixes)
        if any(label is not None for label in labels):
            rows.append({"completions": list(steps), "labels": labels})
    return rows


class _Shares:
    """How many of the answers that share a beginning are right."""

    def __init__(self, case: Case) -> None:
        self._right, self._all = Counter[str](), Counter[str]()
        for text, right in case.judged:
            for prefix in _prefixes(steps_of(text, case.trace.delimiter)):
                self._all[prefix] += 1
                self._right[prefix] += right
        nodes = case.trace.nodes
        self._open = {
            prefix
            for text in case.unknown
            if text not in case.distinct
            for prefix in _prefixes(steps_of(text, case.trace.delimiter))
        }
        # Blank lines belong to the step before them, not to a node of their own.
        self._said = {
            (path_text(nodes, nodes[node]) or "").rstrip(): right
            for node, right in case.truth.nodes.items()
            if node < len(nodes)
        }

    def of(self, prefix: str, *, hard: bool) -> float | None:
        """The label; a user's word on the very step counts more than what came of it.

        None where nothing is known of some answers that go on from there.
        """
        if (said := self._said.get(prefix.rstrip())) is not None:
            return float(said)
        if prefix in self._open and not (hard and self._right[prefix]):
            return None
        return float(self._right[prefix] > 0) if hard else self._right[prefix] / self._all[prefix]


def outcomes(case: Case) -> list[dict[str, Any]]:
    """A row for each distinct finished answer."""
    return [{"completion": assistant(text), "label": float(right)} for text, right in case.distinct.items()]


def preferences(case: Case, *, most: int) -> list[dict[str, Any]]:
    """Right answers against wrong ones, those first that share most steps; each answer is used once."""
    delimiter = case.trace.delimiter
    good = [text for text, right in case.distinct.items() if right]
    bad = [text for text, right in case.distinct.items() if not right]
    ranked = sorted(
        ((g, b) for g in good for b in bad), key=lambda pair: -_shared(pair[0], pair[1], delimiter)
    )
    rows: list[dict[str, Any]] = []
    used: set[str] = set()
    for g, b in ranked:
        if len(rows) < most and not used & {g, b}:
            used |= {g, b}
            rows.append({"chosen": assistant(g), "rejected": assistant(b)})
    return rows


def demonstrations(case: Case) -> list[dict[str, Any]]:
    """A row for each distinct right answer."""
    return [{"completion": assistant(text)} for text, right in case.distinct.items() if right]


def questions(case: Case) -> list[dict[str, Any]]:
    """The prompt with its right answer."""
    return [] if case.truth.answer is None else [{"answer": case.truth.answer}]


def _fault(trace: Trace) -> str | None:
    """Why nothing can be learned from a trace, whatever is known about it."""
    if trace.status != "finished":
        return f"the request {'was cancelled' if trace.status == 'cancelled' else 'failed'}"
    if trace.messages is None:
        return "kept without text"
    if not trace.messages or trace.messages[-1].get("role") != "user":
        return "the last message is not the user's"
    return None


def _problem(trace: Trace) -> str:
    return Problem.model_validate({"prompt": trace.messages}).id


def _source(trace: Trace, known: Truth) -> dict[str, Any]:
    agreement = {} if known.agreement is None else {"agreement": known.agreement}
    return {
        "kind": "trace",
        "trace": trace.id,
        "created": trace.created,
        "model": trace.model,
        "strategy": trace.strategy,
        "verifier": trace.verifier,
        "labels": known.how,
        **agreement,
    }


def _prefixes(steps: Sequence[str]) -> Iterator[str]:
    text = ""
    for step in steps:
        text += step
        yield text


def _shared(a: str, b: str, delimiter: str) -> int:
    """Steps that two answers begin with in common."""
    together = zip(_prefixes(steps_of(a, delimiter)), _prefixes(steps_of(b, delimiter)), strict=False)
    return sum(one == other for one, other in together)
