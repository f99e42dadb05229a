"""Cheap first: each stage answers, and only an unsure answer goes on to the next stage.

Chen et al. 2023, FrugalGPT: How to Use Large Language Models While Reducing Cost and Improving Performance;
with the agreement of samples as the measure of sureness, Yue et al. 2023, Large Language Model Cascades with
Mixture of Thoughts Representations for Cost-efficient Reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.errors import BudgetTooSmall
from mull.run import Run
from mull.strategies.base import Cost, Many, Needs, StrategyModel
from mull.strategies.leftover import followed_by
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.nested import Inner
from mull.strategies.ranking import behind
from mull.types import Answer, Candidate, Choice, Task


class Stage(BaseModel):
    """One attempt, and how sure its answer must be to be the last one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: Inner = Field(description="The strategy of this stage.")
    at_least: float = Field(
        0.0, ge=0, le=1, description="Confidence below which the next stage is asked; the last has no next."
    )


class Cascade(StrategyModel):
    """Asks its `stages` one after the other until an answer's confidence is at least what its stage demands.

    What confidence is, each strategy says (share of the votes, score of the best); one that has none is
    unsure. Whole answers sampled by earlier stages are handed on: a stage that samples such answers pays for
    the rest only. Whatever earlier stages found stays a candidate behind the last answer. A stage that the
    budget leaves without any answer is passed over.
    Cost: at most that of all stages together.
    """

    source: ClassVar[str] = (
        "Chen et al. 2023, FrugalGPT, https://arxiv.org/abs/2305.05176; Yue et al. 2023, Large Language "
        "Model Cascades with Mixture of Thoughts Representations, https://arxiv.org/abs/2310.03094"
    )
    cost_model: ClassVar[str] = (
        "the costs of the stages up to the first sure one, less the samples that later stages reuse"
    )

    stages: Many[Stage] = Field(
        (
            Stage(inner=Inner.of(MajorityVote(n=4)), at_least=0.75),
            Stage(inner=Inner.of(MajorityVote(n=16)), at_least=0.5),
            Stage(inner=Inner.of(MajorityVote(n=40))),
        ),
        max_length=8,
        description="Strategies, cheapest first, each with the confidence that makes its answer final.",
    )

    @model_validator(mode="after")
    def _several(self) -> Self:
        if not self.stages:
            raise ValueError("stages: there must be one at least")
        return self

    @property
    def needs(self) -> Needs:
        """What any of the stages needs."""
        needs = super().needs
        for stage in self.stages:
            needs |= stage.inner.needs
        return needs

    def cost(self) -> Cost:
        """All stages."""
        total = Cost(generations=0)
        for stage in self.stages:
            total += stage.inner.cost()
        return total

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Stage by stage, until one is sure."""
        answers: list[Answer] = []
        for number, stage in enumerate(self.stages, start=1):
            drawn = _whole(answers[-1].choices, run) if answers else []
            node = run.mark("stage", number=number)
            last = number == len(self.stages)
            try:
                found = await stage.inner.solve(run, drawn=drawn, under=node, commits=last)
            except BudgetTooSmall:
                if last and not answers:
                    raise
                continue
            run.trace.annotate(node, confidence=found.confidence, at_least=stage.at_least)
            answers.append(followed_by(found, answers[-1].choices, run) if answers else found)
            if not any(behind(found.best)) and (found.confidence or 0.0) >= stage.at_least:
                break
        return answers[-1]


def _whole(choices: Sequence[Choice], run: Run) -> list[Candidate]:
    """Plain samples of the task's own chat among the choices, in the order of sampling.

    What a share of the budget cut off is none; what the request's own limit cut off is one, or the answers
    handed on would be the short ones.
    """
    limit = run.task.sampling.max_tokens

    def whole(c: Candidate) -> bool:
        ended = c.complete or c.tokens == limit or len(c.prompt.ids or ()) >= run.context
        plain = len(c.steps) == 1 and run.trace.nodes[c.node].kind == "sample"
        return ended and plain and c.prompt.chat == run.task.chat

    return sorted((c.candidate for c in choices if whole(c.candidate)), key=lambda c: c.index)
