"""A rule that holds answers against retrieved documents: no model."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence

from mull.types import Aggregation, Candidate, Score, Task, VerifierKind, aggregate
from mull.verifiers.documents import required
from mull.verifiers.steps import split
from mull.words import words

NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?")

_COMMON = """
a about after all also although an and answer any are as at be because been before being both boxed but
by can could did do does each either final first for from had has have he hence her here him his how
however i if in into is it its let may me might more most must my no nor not of on one only or other our
out over same shall she should since so some such than that the their them then there therefore these
they this those through thus to too under until up us very was we were what when where whether which
while who whom whose why will with within without would yes yet you your
"""
COMMON = frozenset(_COMMON.split())
"""English words that say nothing by themselves, and those that lead to an answer."""


class GroundingVerifier:
    """How much of each step of an answer occurs in the task's documents.

    A step's score is the share of its numbers that the documents have, times the share of its content words;
    a step without any scores 1. What the question has already is not counted. Numbers are the same if they
    are equal (`1,000` and `1000.0`), words if they are without case and accents. An empty answer scores 0.

    It says whether an answer speaks of what the documents speak of, not whether they imply it: a sentence
    that turns one of theirs into its opposite scores 1. For that ask a language model (`GenerativeVerifier`).

    Args:
        name: The verifier's name.
        delimiter: Where steps end in an answer.
        aggregation: How `Score.value` is made from the steps.
    """

    kind: VerifierKind = "process"

    def __init__(self, name: str, *, delimiter: str = "\n", aggregation: Aggregation = "min") -> None:
        self.name = name
        self._delimiter = delimiter
        self._aggregation: Aggregation = aggregation

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order.

        Raises:
            InvalidRequest: the task has no documents.
        """
        documents = [passage.text for passage in required(task, self.name)]
        return await asyncio.to_thread(
            self._judge, task.chat.question, documents, [candidate.text for candidate in candidates]
        )

    def _judge(self, question: str, documents: Sequence[str], answers: Sequence[str]) -> list[Score]:
        text = "\n".join(documents)
        asked = [find(question) for find in (_numbers, _content)]
        known = [find(text) for find in (_numbers, _content)]

        def judge(step: str) -> float:
            found = [find(step) for find in (_numbers, _content)]
            return math.prod(_share(f - a, k) for f, a, k in zip(found, asked, known, strict=True))

        scores = []
        for answer in answers:
            steps = tuple(judge(step.text) for step in split(answer, self._delimiter))
            value = aggregate(steps, self._aggregation) if steps else 0.0
            scores.append(Score(value=value, steps=steps))
        return scores


def _numbers(text: str) -> set[str]:
    return {_plain(found) for found in NUMBER.findall(text)}


def _plain(number: str) -> str:
    """A number without commas and without zeros that change nothing."""
    whole, _, part = number.replace(",", "").partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


def _content(text: str) -> set[str]:
    """Words that carry meaning: numbers, common words and single letters are left out."""
    return {
        word
        for word in words(text)
        if word not in COMMON and not word.isdecimal() and (len(word) > 1 or not word.isascii())
    }


def _share(items: set[str], of: set[str]) -> float:
    return len(items & of) / len(items) if items else 1.0
