"""The model rates its answers, or holds them against each other two by two.

Ratings: Kadavath et al. 2022 (P(True)) and Zheng et al. 2023, Judging LLM-as-a-Judge with MT-Bench and
Chatbot Arena (a number). Pairs, in both orders: Qin et al. 2023, Large Language Models are Effective Text
Rankers with Pairwise Ranking Prompting.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.asides import aside
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.prompts import fill, holding
from mull.strategies.ranking import read
from mull.strategies.standing import equal, ranked, standing
from mull.strategies.tournament import Preferences, knockout, round_robin
from mull.strategies.turns import follow_up, rephrased
from mull.strategies.verdict import CHECK, verdicts
from mull.types import Answer, Chat, Choice, Score, Task

_RATING = re.compile(r"(?<![\w.-])(\d+(?:\.\d+)?)(?:\s*(?:/|out of)\s*\d+)?")
_DIGITS = 9
# Preferences that cancel out must be exactly even, whatever the rounding of the two orders.


class Rerank(StrategyModel):
    """Samples `n` answers and has the model put them into order.

    `p_true` asks after each answer whether it is right, as `self_verify` does; `rating` asks for a number
    from 0 to `scale`; `pairwise` asks which of two answers is better, once in each order, and takes the mean,
    so that a liking for the first (or second) place cancels out. Pairs make up a `knockout`, or a
    `round_robin` in which the mean preference over different answers counts. Equal answers are not compared;
    they, even ones, and those of which one reply is missing go by how many samples gave the answer, then by
    which came first.
    Cost: `n` generations, and at most `n` ratings, `2(n - 1)` verdicts of a knockout or `n(n - 1)` of a round
    robin.
    """

    source: ClassVar[str] = (
        "Qin et al. 2023, Large Language Models are Effective Text Rankers with Pairwise Ranking Prompting, "
        "https://arxiv.org/abs/2306.17563; Zheng et al. 2023, Judging LLM-as-a-Judge with MT-Bench and "
        "Chatbot Arena, https://arxiv.org/abs/2306.05685"
    )
    cost_model: ClassVar[str] = (
        "n generations, and at most n (p_true, rating), 2(n - 1) (knockout) or n(n - 1) (round_robin) more"
    )

    n: int = Field(8, ge=1, le=256, description="How many answers to sample.")
    method: Literal["p_true", "rating", "pairwise"] = Field(
        "pairwise", description="Whether answers are checked, rated or compared."
    )
    tournament: Literal["knockout", "round_robin"] = Field(
        "knockout", description="Which pairs are compared: winners with winners, or all."
    )
    check: str = Field(CHECK, min_length=1, description="The turn that asks whether an answer is right.")
    rate: str = Field(
        "Rate this answer from 0 to {scale}. Reply with the number alone.",
        min_length=1,
        description="The turn that asks for a rating.",
    )
    scale: int = Field(10, ge=1, le=100, description="The best rating.")
    compare: str = Field(
        "{question}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\nWhich answer is better? Reply A or B.",
        pattern=holding("first", "second"),
        description="What takes the place of the last user message to compare two answers.",
    )
    first: str = Field("A", min_length=1, description="The reply that prefers the first one.")
    second: str = Field("B", min_length=1, description="The reply that prefers the second one.")

    def cost(self) -> Cost:
        """`n` generations, and what the order takes when all answers differ."""
        pairs = self.n - 1 if self.tournament == "knockout" else self.n * (self.n - 1) // 2
        return Cost(generations=self.n + (2 * pairs if self.method == "pairwise" else self.n))

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, then rate or compare."""
        choices = await read(run, await run.collect(await run.start(), n=self.n))
        field = standing(choices)
        if self.method == "pairwise":
            prefer = self._preferences(field, run)
            if self.tournament == "knockout":
                drawn = sorted(range(len(field)), key=lambda i: field[i].candidate.index)
                return ranked(choices, [field[i] for i in await knockout(drawn, prefer)])
            values = await round_robin(len(field), prefer)
        elif self.method == "rating":
            values = await self._rated(field, run)
        else:
            chats = [follow_up(task.chat, c.candidate.text, self.check) for c in field]
            values = await verdicts(run, chats, under=[c.candidate.node for c in field])
        for choice, value in zip(field, values, strict=True):
            if value is not None:
                run.trace.score(choice.candidate.node, Score(value=value))
        scored = [replace(c, score=value) for c, value in zip(field, values, strict=True)]
        return ranked(choices, sorted(scored, key=lambda c: (c.score is None, -(c.score or 0.0))))

    async def _rated(self, field: Sequence[Choice], run: Run) -> list[float | None]:
        """Ratings as shares of the scale, equal texts rated once; None where there is none to read."""
        turn = fill(self.rate, scale=str(self.scale))
        first: dict[str, Choice] = {}
        for choice in field:
            first.setdefault(choice.candidate.text, choice)
        replies = await run.together(
            [
                run.ask(
                    follow_up(run.task.chat, text, turn),
                    sampling=aside(run.task.sampling, temperature=0.0),
                    under=choice.candidate.node,
                    kind="rating",
                )
                for text, choice in first.items()
            ]
        )
        told = {
            text: _rating(reply[0].text, self.scale) if reply else None
            for text, reply in zip(first, replies, strict=True)
        }
        return [told[choice.candidate.text] for choice in field]

    def _preferences(self, field: Sequence[Choice], run: Run) -> Preferences:
        """Compares different answers by asking the model in both orders."""

        async def prefer(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
            asked = [(a, b) for a, b in pairs if not equal(field[a], field[b])]
            matches = [(field[a], field[b]) for a, b in asked]
            nodes = [run.mark("pair", parents=[a.candidate.node, b.candidate.node]) for a, b in matches]
            chats = [self._chat(*shown, run) for a, b in matches for shown in ((a, b), (b, a))]
            under = [node for node in nodes for _ in range(2)]
            told = await verdicts(run, chats, good=self.first, bad=self.second, under=under)
            found: dict[tuple[int, int], float] = {}
            for pair, node, forth, back in zip(asked, nodes, told[::2], told[1::2], strict=True):
                if forth is not None and back is not None:
                    found[pair] = round((forth + 1 - back) / 2, _DIGITS)
                    run.trace.annotate(node, preference=found[pair])
            return [found.get(pair) for pair in pairs]

        return prefer

    def _chat(self, first: Choice, second: Choice, run: Run) -> Chat:
        chat = run.task.chat
        texts = {"first": first.candidate.text, "second": second.candidate.text}
        return rephrased(chat, fill(self.compare, question=chat.question, **texts))


def _rating(reply: str, scale: int) -> float | None:
    """The last number from 0 to `scale` in a reply, as a share of the scale; `8/10` is 8."""
    numbers = [float(number) for number in _RATING.findall(reply)]
    return next((number / scale for number in reversed(numbers) if number <= scale), None)
