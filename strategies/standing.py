"""Which of several answers a model may choose between, and where they stand before it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mull.strategies.ranking import behind, by_votes
from mull.types import Answer, Choice


def standing(choices: Sequence[Choice]) -> list[Choice]:
    """The choices that may win: those of the most frequent answer first, then the earlier ones.

    What is cut off may not. Nor may what has no readable answer, unless nothing has one: then (in tasks
    without a final answer) different texts are different answers.
    """
    complete = [c for c in choices if c.candidate.complete and c.fits]
    complete = complete or [c for c in choices if c.candidate.complete]
    able = [c for c in complete if c.answer is not None] or complete
    places = {key: at for at, (key, _) in enumerate(Counter(_key(c) for c in able).most_common())}
    return sorted(able, key=lambda c: places[_key(c)])


def equal(a: Choice, b: Choice) -> bool:
    """Whether two choices give the same answer, or the same text where there is none."""
    return _key(a) == _key(b)


def ranked(choices: Sequence[Choice], order: Sequence[Choice]) -> Answer:
    """All choices, those in `order` first, with the scores that they have there, then by votes.

    The confidence is the share of votes for the first one's answer, as in a plain vote.
    """
    voted = by_votes(choices, [1.0] * len(choices))
    places = {c.candidate.node: at for at, c in enumerate(order)}
    scores = {c.candidate.node: c.score for c in order}
    ordered = sorted(
        (replace(c, score=scores.get(c.candidate.node)) for c in voted.choices),
        key=lambda c: (*behind(c), places.get(c.candidate.node, len(places))),
    )
    cast = sum(1 for c in choices if c.answer is not None)
    votes = ordered[0].votes
    return Answer(choices=tuple(ordered), confidence=votes / cast if votes and cast else None)


def _key(choice: Choice) -> tuple[bool, str]:
    if choice.answer is None:
        return False, choice.candidate.text
    return True, choice.answer
