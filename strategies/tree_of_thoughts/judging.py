"""What partial solutions are worth: by the model's word on each, by its vote among them, or by a verifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar, Protocol

from mull.run import Run
from mull.strategies.asides import aside
from mull.strategies.panel import numbered
from mull.strategies.prompts import fill
from mull.strategies.replies import last_number, last_word
from mull.strategies.turns import rephrased
from mull.types import Aggregation, Candidate, Score

VALUES = {"sure": 20.0, "likely": 1.0, "maybe": 1.0, "impossible": 0.001}
"""Weights of the model's words, from the Game of 24 in the paper's code."""

Scores = dict[int, float]
"""Values of states in [0, 1] by their trace node."""


class Judge(Protocol):
    """Values states."""

    relative: ClassVar[bool]
    """Whether values hold only among the states that were judged together."""

    async def __call__(self, run: Run, states: Sequence[Candidate]) -> Scores:
        """The value of each state; states that it cannot tell apart have equal ones."""
        ...

    async def of_answers(self, run: Run, answers: Sequence[Candidate], before: Sequence[float]) -> Scores:
        """The value of finished answers, from the values of the states that they were made of."""
        ...


@dataclass(frozen=True, kw_only=True)
class ByValue:
    """The model is asked of each state whether it can still succeed, `votes` times; the mean of its words."""

    relative: ClassVar[bool] = False

    prompt: str
    votes: int

    async def __call__(self, run: Run, states: Sequence[Candidate]) -> Scores:
        """A reply without one of the words is no vote; without any vote, the state may succeed."""
        chat, plain = run.task.chat, aside(run.task.sampling)
        replies = await run.together(
            [
                run.ask(
                    rephrased(chat, fill(self.prompt, question=chat.question, steps=state.text.strip())),
                    n=_times(self.votes, run),
                    sampling=plain,
                    under=state.node,
                    kind="verdict",
                )
                for state in states
            ]
        )
        return _noted(run, states, [_value(drawn) for drawn in replies])

    async def of_answers(self, run: Run, answers: Sequence[Candidate], before: Sequence[float]) -> Scores:
        """As before."""
        return _noted(run, answers, before)


@dataclass(frozen=True, kw_only=True)
class ByVote:
    """The model sees all states and names the best, `votes` times; the share of its votes."""

    relative: ClassVar[bool] = True

    prompt: str
    votes: int

    async def __call__(self, run: Run, states: Sequence[Candidate]) -> Scores:
        """A reply without a number of the list is no vote; without any vote, all are worth the same."""
        if len(states) < 2:
            return _noted(run, states, [1.0] * len(states))
        chat = run.task.chat
        told = fill(
            self.prompt,
            question=chat.question,
            states=numbered([state.text for state in states]),
            count=str(len(states)),
        )
        node = run.mark("ballot", parents=[state.node for state in states])
        replies = await run.ask(
            rephrased(chat, told),
            n=_times(self.votes, run),
            sampling=aside(run.task.sampling),
            under=node,
            kind="verdict",
        )
        named = Counter(last_number(reply.text, len(states)) for reply in replies)
        cast = sum(votes for number, votes in named.items() if number is not None)
        shares = [named[i] / cast if cast else 1 / len(states) for i in range(1, len(states) + 1)]
        return _noted(run, states, shares)

    async def of_answers(self, run: Run, answers: Sequence[Candidate], before: Sequence[float]) -> Scores:
        """As before."""
        return _noted(run, answers, before)


@dataclass(frozen=True, kw_only=True)
class ByVerifier:
    """The request's process verifier."""

    relative: ClassVar[bool] = False

    aggregate: Aggregation

    async def __call__(self, run: Run, states: Sequence[Candidate]) -> Scores:
        """Scores that the budget left unknown count as 0."""
        judged = await run.score(states, self.aggregate)
        return {
            state.node: score.reduce(self.aggregate) if score.known else 0.0
            for state, score in zip(states, judged, strict=True)
        }

    async def of_answers(self, run: Run, answers: Sequence[Candidate], before: Sequence[float]) -> Scores:
        """What it says of the whole answers."""
        return await self(run, answers)


def _value(replies: Sequence[Candidate]) -> float:
    words = [last_word(reply.text, VALUES) for reply in replies]
    told = [VALUES[word] for word in words if word is not None]
    return (fmean(told) if told else VALUES["maybe"]) / max(VALUES.values())


def _times(votes: int, run: Run) -> int:
    """How often to ask: at temperature 0 all replies would be the same."""
    return 1 if run.task.sampling.temperature == 0 else votes


def _noted(run: Run, states: Sequence[Candidate], values: Sequence[float]) -> Scores:
    for state, value in zip(states, values, strict=True):
        run.trace.score(state.node, Score(value=value))
    return {state.node: value for state, value in zip(states, values, strict=True)}
