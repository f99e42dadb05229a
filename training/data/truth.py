"""Which of a served search's answers are right, and how that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mull.answers import Answers
from mull.training.data.traces import Feedback, Leaf, Trace

How = Literal["reference", "feedback", "consensus"]

VOTES = 3
"""Answers from which on a vote says anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Verdicts on the answers of one trace."""

    how: How
    right: tuple[bool | None, ...]
    """For each leaf; None where it is not known."""
    answer: str | None = None
    """The right answer; None where only a wrong one is known."""
    agreement: float | None = None
    """Share of the votes, where the truth is a consensus."""
    nodes: Mapping[int, bool] = field(default_factory=dict)
    """Verdicts of users on single nodes."""


async def truth(
    trace: Trace,
    found: Sequence[Leaf],
    feedback: Feedback | None,
    answers: Answers,
    *,
    labels: How | None,
    min_agreement: float,
) -> Truth | None:
    """What is known about a trace's answers: from a reference, else from users, else from a vote.

    Args:
        trace: A finished search.
        found: Its leaves.
        feedback: What users said.
        answers: Reads and compares final answers.
        labels: The only source allowed; None for the best one there is.
        min_agreement: Share of the votes that a consensus needs, among leaves with an answer.

    Returns:
        The verdicts, None where nothing is known.
    """
    said = feedback or Feedback()
    read = [await answers.extract(leaf.text, trace.answer_kind) for leaf in found]

    async def equal_to(reference: str) -> list[bool | None]:
        return [a is not None and await answers.equal(a, reference) for a in read]

    if trace.reference is not None and labels in (None, "reference"):
        return Truth(how="reference", right=tuple(await equal_to(trace.reference)), answer=trace.reference)
    if labels in (None, "feedback"):
        nodes = dict(said.nodes)
        right: list[bool | None] | None = None
        if said.reference is not None:
            right = await equal_to(said.reference)
        elif said.right is not None and trace.answer is not None:
            given = await equal_to(trace.answer)
            # That one answer is wrong says nothing of the others.
            right = given if said.right else [False if same else None for same in given]
        elif said.right is not None and trace.node is not None:
            right = [said.right if leaf.node == trace.node else None for leaf in found]
        elif nodes:
            voted = await _consensus(read, answers, min_agreement) if labels is None else None
            right = [None] * len(found) if voted is None else list(voted.right)
        if right is not None:
            known = said.reference or (trace.answer if said.right else None)
            marked = tuple(nodes.get(leaf.node, r) for leaf, r in zip(found, right, strict=True))
            return Truth(how="feedback", right=marked, answer=known, nodes=nodes)
    if labels in (None, "consensus"):
        return await _consensus(read, answers, min_agreement)
    return None


async def _consensus(read: Sequence[str | None], answers: Answers, least: float) -> Truth | None:
    groups = await answers.group(read)
    votes = Counter(group for group in groups if group is not None)
    if votes.total() < VOTES:
        return None
    (winner, most) = votes.most_common(1)[0]
    share = most / votes.total()
    if share < least:
        return None
    answer = next(a for a, group in zip(read, groups, strict=True) if group == winner)
    right = tuple(group == winner for group in groups)
    return Truth(how="consensus", right=right, answer=answer, agreement=round(share, 4))
