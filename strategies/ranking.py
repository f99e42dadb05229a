"""From candidates to an ordered answer: reading, voting and ranking, shared by the strategies.

Everywhere, what is cut off ranks behind what is complete, and what is not as the task's form demands behind
what is; what has no answer never votes; and ties go to the earlier sample, never to the one that happened to
finish first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from mull.errors import BudgetTooSmall
from mull.run import Run
from mull.types import Aggregation, Answer, Candidate, Choice, Score


async def read(run: Run, candidates: Sequence[Candidate]) -> list[Choice]:
    """Each candidate with its final answer; equal answers get the spelling of the first of them.

    Raises:
        BudgetTooSmall: there is no candidate at all, which only a budget too small can cause.
    """
    if not candidates:
        raise BudgetTooSmall(
            f"the budget allowed no answer at all: {run.stopped} ran out first; allow more",
            param="ttc.budget",
        )
    answers, fits = await run.answers_of(candidates), await run.fitting(candidates)
    groups = await run.group(answers)
    spelling: dict[int, str] = {}
    for answer, group in zip(answers, groups, strict=True):
        if answer is not None and group is not None:
            spelling.setdefault(group, answer)
    return [
        Choice(candidate=c, answer=None if group is None else spelling[group], fits=fit)
        for c, group, fit in zip(candidates, groups, fits, strict=True)
    ]


def behind(choice: Choice) -> tuple[bool, bool]:
    """What puts a choice behind others, whatever it scores: not being as demanded, being cut off."""
    return not choice.fits, not choice.candidate.complete


def with_scores(choices: Sequence[Choice], scores: Sequence[Score], how: Aggregation) -> list[Choice]:
    """The choices with their scores; a score that the budget left unknown stays None."""
    return [
        replace(choice, score=score.reduce(how) if score.known else None)
        for choice, score in zip(choices, scores, strict=True)
    ]


def by_score(choices: Sequence[Choice]) -> Answer:
    """Rank by score; the best choice's score is the confidence."""
    ranked = sorted(choices, key=lambda c: (*behind(c), c.score is None, -(c.score or 0.0)))
    return Answer(choices=tuple(ranked), confidence=ranked[0].score)


def by_votes(choices: Sequence[Choice], weights: Sequence[float]) -> Answer:
    """Sum the weights of equal answers and rank by that sum.

    A group is spoken for by its highest score (first sample where there are none). With no vote cast, or
    all of them worth nothing, the ranking falls back to scores, then to the order of sampling. The
    confidence is the winner's share of all weight cast.
    """
    votes: dict[str, float] = defaultdict(float)
    for choice, weight in zip(choices, weights, strict=True):
        if choice.answer is not None:
            votes[choice.answer] += weight
    cast = sum(votes.values())
    if cast <= 0:
        return replace(by_score(choices), confidence=None)
    # Votes first; the answer that appeared first wins a tie and keeps its members together.
    order = {answer: i for i, answer in enumerate(votes)}
    ranked = sorted(
        (replace(c, votes=None if c.answer is None else votes[c.answer]) for c in choices),
        key=lambda c: (
            not c.fits,
            c.votes is None,
            not c.candidate.complete,
            -(c.votes or 0.0),
            order.get(c.answer or "", 0),
            -(c.score or 0.0),
        ),
    )
    return Answer(choices=tuple(ranked), confidence=(ranked[0].votes or 0.0) / cast)
