"""Candidates that a search paid for and did not use: they are still candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mull.run import Run
from mull.strategies.ranking import behind
from mull.types import Answer, Choice


def followed_by(answer: Answer, others: Sequence[Choice], run: Run) -> Answer:
    """The answer with the candidates among `others` that it lacks behind its own, what is complete first.

    Where a part of the answer has been streamed already, candidates that begin otherwise come last. The
    confidence is that of the answer's first choice; None where another candidate comes before it.
    """
    known = {choice.candidate.node for choice in answer.choices}
    added = [choice for choice in others if choice.candidate.node not in known]
    ranked = sorted(
        (*answer.choices, *added),
        key=lambda c: (not c.candidate.text.startswith(run.committed), *behind(c)),
    )
    same = ranked[0] is answer.best
    return replace(answer, choices=tuple(ranked), confidence=answer.confidence if same else None)
