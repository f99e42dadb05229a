"""The model criticises its answer and writes it anew, until it has nothing to object.

Madaan et al. 2023, Self-Refine: Iterative Refinement with Self-Feedback; Saunders et al. 2022,
Self-critiquing Models for Assisting Human Evaluators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.asides import aside
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.strategies.nested import Inner
from mull.strategies.ranking import behind, read
from mull.strategies.single import Single
from mull.strategies.turns import follow_up
from mull.types import Answer, Candidate, Choice, Task

CRITIQUE = "Check the answer step by step. If all is right, reply: All correct."
REVISE = "Write the corrected answer."
"""Word by word what the bundled policy is trained on."""


class SelfCritique(StrategyModel):
    """Lets `inner` answer, then asks for a critique and a revised answer, for `rounds` rounds at most.

    A round's conversation is the question, the latest version, `critique`, what the model replies, and
    `revise`. It ends when the critique contains `accept` (in any case) or is empty, and when a revision
    repeats an earlier version. The latest version is the answer, unless it is cut off or cannot be read and
    an earlier one is not; the others remain candidates.
    Cost: that of the inner strategy, and two generations a round.
    """

    source: ClassVar[str] = (
        "Madaan et al. 2023, Self-Refine: Iterative Refinement with Self-Feedback, "
        "https://arxiv.org/abs/2303.17651; Saunders et al. 2022, Self-critiquing Models for Assisting Human "
        "Evaluators, https://arxiv.org/abs/2206.05802"
    )
    cost_model: ClassVar[str] = "the cost of inner and 2 * rounds generations at most, 1 if accepted at once"

    inner: Inner = Field(Inner.of(Single()), description="The strategy that gives the first answer.")
    rounds: int = Field(3, ge=1, le=32, description="How often to criticise and revise at most.")
    critique: str = Field(CRITIQUE, min_length=1, description="The turn that asks for a critique.")
    revise: str = Field(REVISE, min_length=1, description="The turn that asks for the revised answer.")
    accept: str = Field(
        "All correct", min_length=1, description="What a critique contains that has nothing to object."
    )

    @property
    def needs(self) -> Needs:
        """What the inner strategy needs."""
        return super().needs | self.inner.needs

    def cost(self) -> Cost:
        """The inner strategy's, a critique and a revision a round."""
        return self.inner.cost() + Cost(generations=2) * self.rounds

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Answer, then criticise and revise."""
        first = await self.inner.solve(run)
        versions = [first.best.candidate]
        for _ in range(self.rounds):
            critique = await self._criticised(versions[-1], run)
            if critique is None:
                break
            revised = await run.ask(
                follow_up(task.chat, versions[-1].text, self.critique, critique.text, self.revise),
                under=critique.node,
                kind="revision",
            )
            seen = {version.text for version in versions}
            versions += revised
            if not revised or revised[0].text in seen:
                if revised:
                    run.stop("fixed_point")
                break
        return await _latest_first(run, versions, first)

    async def _criticised(self, version: Candidate, run: Run) -> Candidate | None:
        """What the model objects to a version; None for nothing."""
        replies = await run.ask(
            follow_up(run.task.chat, version.text, self.critique),
            sampling=aside(run.task.sampling),
            under=version.node,
            kind="critique",
        )
        if not replies:
            return None
        said = replies[0].text.casefold()
        accepted = self.accept.casefold() in said
        run.trace.annotate(version.node, accepted=accepted)
        return None if accepted or not said.strip() else replies[0]


async def _latest_first(run: Run, versions: Sequence[Candidate], first: Answer) -> Answer:
    """All versions, latest first, then what else the inner strategy found."""
    scored = {choice.candidate.node: choice for choice in first.choices}
    candidates = [*reversed(versions), *(c.candidate for c in first.choices[1:])]
    choices = [
        _as_before(choice, scored.get(choice.candidate.node)) for choice in await read(run, candidates)
    ]
    ranked = sorted(choices[: len(versions)], key=lambda c: (*behind(c), c.answer is None))
    others = choices[len(versions) :]
    ordered = sorted([*ranked, *others], key=behind)
    return Answer(
        choices=tuple(ordered),
        confidence=first.confidence if len(versions) == 1 else None,
    )


def _as_before(choice: Choice, before: Choice | None) -> Choice:
    return choice if before is None else replace(choice, score=before.score, votes=before.votes)
