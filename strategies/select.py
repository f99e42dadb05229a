"""The model sees its answers side by side and names the one to keep.

Chen et al. 2023, Universal Self-Consistency for Large Language Model Generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.asides import aside
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.prompts import fill, holding
from mull.strategies.ranking import read
from mull.strategies.replies import last_number
from mull.strategies.room import roomy
from mull.strategies.standing import equal, ranked, standing
from mull.strategies.turns import rephrased
from mull.types import Answer, Candidate, Chat, Choice, Task


class Select(StrategyModel):
    """Samples `n` answers, shows them to the model under numbers, and returns the one that it names.

    They are shown in an order drawn anew for each of `votes` selections, so that no place in the list is
    favoured for long; equal ones stay apart, as in the paper, so that frequent answers are seen to be
    frequent. The answer named most often wins. More than `group`, or fewer where they do not fit the context,
    are chosen from in groups of like size, and then among the groups' winners. A reply without a number of
    the list is no vote; without any vote, and in a tie, the answer that more samples gave wins.
    Cost: `n` generations, and `votes` a group in which answers differ.
    """

    source: ClassVar[str] = (
        "Chen et al. 2023, Universal Self-Consistency for Large Language Model Generation, "
        "https://arxiv.org/abs/2311.17311"
    )
    cost_model: ClassVar[str] = (
        "n generations, and votes a group: votes where n is at most group, votes * (n - 1) at most"
    )

    n: int = Field(8, ge=1, le=256, description="How many answers to sample.")
    votes: int = Field(1, ge=1, le=64, description="How often to select, each time from another order.")
    group: int = Field(16, ge=2, le=256, description="How many answers to show at once at most.")
    item: str = Field(
        "Answer {number}:\n{answer}",
        pattern=holding("answer"),
        description="How an answer is shown.",
    )
    prompt: str = Field(
        "{question}\n\nHere are {count} answers to this question.\n\n{answers}\n\n"
        "Which of them is right? End your reply with its number.",
        pattern=holding("answers"),
        description="What takes the place of the last user message; the reply's last number counts.",
    )

    def cost(self) -> Cost:
        """`n` generations; each selection leaves out one answer at least."""
        return Cost(generations=self.n + self.votes * (self.n - 1))

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, show, choose."""
        choices = await read(run, await run.collect(await run.start(), n=self.n))
        left, size = standing(choices), self.group
        stands = {choice.candidate.node: at for at, choice in enumerate(left)}
        while len(left) > 1 and run.budget.exhausted is None:
            kept = await self._kept(_groups(left, size), stands, run)
            size = max(2, max(map(len, kept)) // 2) if any(len(k) > 1 for k in kept) else size
            left = [choice for group in kept for choice in group]
        return ranked(choices, sorted(left, key=lambda c: stands[c.candidate.node]))

    async def _kept(
        self, groups: Sequence[Sequence[Choice]], stands: Mapping[int, int], run: Run
    ) -> list[Sequence[Choice]]:
        """The winner of each group; all of a group that does not fit the context and can be smaller."""
        asked = [
            (at, run.rng.sample(group, len(group)))
            for at, group in enumerate(groups)
            if not all(equal(choice, group[0]) for choice in group)
            for _ in range(self.votes)
        ]
        roots = await run.together([self._shown(order, run) for _, order in asked])
        able = [(at, order, root) for (at, order), root in zip(asked, roots, strict=True) if root is not None]
        how = aside(run.task.sampling)
        replies = await run.together([run.collect(root, sampling=how, kind="choice") for _, _, root in able])
        named: dict[int, list[Choice]] = {at: [] for at, _, _ in able}
        for (at, order, _), reply in zip(able, replies, strict=True):
            whole = bool(reply) and reply[0].complete
            number = last_number(reply[0].text, len(order)) if whole else None
            if number is not None:
                named[at].append(order[number - 1])
        too_long = {at for at, _ in asked} - named.keys()
        return [
            group if at in too_long and len(group) > 2 else [_winner(named.get(at) or group, stands)]
            for at, group in enumerate(groups)
        ]

    async def _shown(self, shown: Sequence[Choice], run: Run) -> Candidate | None:
        """The root of a conversation that shows these answers; None when it is too long."""
        node = run.mark("selection", parents=[choice.candidate.node for choice in shown])
        return await roomy(run, self._chat(shown, run), under=node)

    def _chat(self, shown: Sequence[Choice], run: Run) -> Chat:
        """The question with these answers, numbered from 1."""
        answers = "\n\n".join(
            fill(self.item, number=str(number), answer=choice.candidate.text)
            for number, choice in enumerate(shown, start=1)
        )
        chat = run.task.chat
        told = fill(self.prompt, question=chat.question, answers=answers, count=str(len(shown)))
        return rephrased(chat, told)


def _winner(named: Sequence[Choice], stands: Mapping[int, int]) -> Choice:
    """A choice of the answer named most often; of equals the one that stands higher."""

    def key(choice: Choice) -> tuple[int, int]:
        return -sum(equal(choice, other) for other in named), stands[choice.candidate.node]

    return min(named, key=key)


def _groups(choices: Sequence[Choice], size: int) -> list[Sequence[Choice]]:
    """The choices in the order of sampling, in as few groups as may be, whose sizes differ by 1 at most."""
    drawn = sorted(choices, key=lambda c: c.candidate.index)
    count = -(-len(drawn) // size)
    return [drawn[len(drawn) * at // count : len(drawn) * (at + 1) // count] for at in range(count)]
