"""Mixture of agents: layers of writers who read what the layer before wrote, and one who has the last word.

Wang et al. 2024, Mixture-of-Agents Enhances Large Language Model Capabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field, model_validator

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.panel import Models, numbered, shown, write, writers
from mull.strategies.prompts import fill, holding
from mull.strategies.ranking import behind, by_votes, read
from mull.strategies.turns import rephrased
from mull.types import Answer, Candidate, Chat, Task

PROMPT = (
    "{question}\n\n"
    "Several assistants have answered this:\n\n{answers}\n\n"
    "Some of these answers may be wrong. Judge them, then give one answer of your own, the best you can make."
)


class MixtureOfAgents(StrategyModel):
    """Has `proposers` answers written a layer, each layer shown the one before, and one final answer.

    With `models`, the proposers of a layer are these models by turns; `aggregator` writes the final answer,
    streamed as it comes. Answers that a limit cut off are shown only where there are no others. All proposals
    stay candidates below the final answer; when there is none, or it is cut off, the last layer votes.
    Confidence is the share of the last layer's answers that agree with the answer given.
    Cost: `layers * proposers + 1` generations.
    """

    source: ClassVar[str] = (
        "Wang et al. 2024, Mixture-of-Agents Enhances Large Language Model Capabilities, "
        "https://arxiv.org/abs/2406.04692"
    )
    cost_model: ClassVar[str] = "layers * proposers + 1 generations"

    layers: int = Field(2, ge=1, le=8, description="Layers of proposers, before the aggregator.")
    proposers: int = Field(6, ge=1, le=64, description="Answers that each layer writes.")
    models: Models = Field(
        (),
        max_length=16,
        description="Models that propose, by turns; the request's own where there are none.",
    )
    aggregator: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="Model of the final answer; the request's own by default.",
    )
    prompt: str = Field(
        PROMPT,
        pattern=holding("question", "answers"),
        max_length=4000,
        description="Question of all but the first layer: {question} and {answers}.",
    )

    @model_validator(mode="after")
    def _each_model_writes(self) -> Self:
        if len(set(self.models)) > self.proposers:
            raise ValueError(f"proposers: must be at least the number of models, {len(set(self.models))}")
        return self

    def cost(self) -> Cost:
        """The layers and the final answer."""
        return Cost(generations=self.layers * self.proposers + 1)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Layer by layer, then the aggregator."""
        panel = writers(run, self.models, self.proposers)
        aggregator = run.child(model=self.aggregator, commits=True)
        proposals: list[Candidate] = []
        last: list[Candidate] = []
        for number in range(1, self.layers + 1):
            node = run.mark("layer", number=number, parents=[c.node for c in last])
            drawn = await self._propose(panel, last, task.chat, node)
            if not drawn:
                break
            proposals += drawn
            last = drawn
        final = await self._aggregate(last, aggregator)
        return await self._conclude(final, last, proposals, run)

    async def _propose(
        self, panel: Sequence[tuple[Run, int]], last: Sequence[Candidate], chat: Chat, node: int
    ) -> list[Candidate]:
        # What other models say is no sample of this one.
        kind = "draft" if self.models else "sample"
        drawn = await write(panel, _texts(last), lambda t: self._asked(chat, t), under=node, kind=kind)
        return [candidate for _, candidate in drawn]

    def _asked(self, chat: Chat, texts: Sequence[str]) -> Chat:
        if not texts:
            return chat
        return rephrased(chat, fill(self.prompt, question=chat.question, answers=numbered(texts)))

    async def _aggregate(self, last: Sequence[Candidate], run: Run) -> Candidate | None:
        if not last:
            return None
        node = run.mark("aggregate", parents=[c.node for c in last])
        root = await shown(run, _texts(last), lambda t: self._asked(run.task.chat, t), under=node)
        return None if root is None else await run.follow(root, kind="aggregate")

    async def _conclude(
        self,
        final: Candidate | None,
        last: Sequence[Candidate],
        proposals: Sequence[Candidate],
        run: Run,
    ) -> Answer:
        """The final answer first; behind it the proposals in the order of the last layer's vote."""
        earlier = [c for c in reversed(proposals) if c not in last]
        choices = await read(run, [*last, *([final] if final else []), *earlier])
        voted = by_votes(choices, [float(i < len(last)) for i in range(len(choices))])
        ranked = sorted(
            voted.choices,
            key=lambda c: (
                not c.candidate.text.startswith(run.committed),
                *behind(c),
                c.candidate is not final,
            ),
        )
        cast = len([c for c in choices[: len(last)] if c.answer is not None])
        best = ranked[0].votes
        return replace(
            voted, choices=tuple(ranked), confidence=None if best is None or not cast else best / cast
        )


def _texts(candidates: Sequence[Candidate]) -> list[str]:
    """The complete ones' texts, or all where none is complete."""
    return [c.text for c in candidates if c.complete] or [c.text for c in candidates]
