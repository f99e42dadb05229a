"""Diverse verifier tree search: several small trees instead of one large one.

Beeching, Tunstall and Rush 2024, Scaling Test-Time Compute with Open Models.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from mull.run import Run
from mull.strategies.base import Cost
from mull.strategies.steps import Final, Scores, StepSearch, conclude, distinct
from mull.types import Answer, Candidate, Task


class DVTS(StepSearch):
    """Grows `n / width` independent trees, each of which keeps the best of `width` next steps.

    The trees do not compete, so that one promising start cannot crowd out the others. Each ends with its
    first best step that ends an answer; what else it has finished by then stands for election too.
    Cost: at most `n` generated steps and as many step scores a level.
    """

    source: ClassVar[str] = (
        "Beeching, Tunstall and Rush 2024, Scaling Test-Time Compute with Open Models, "
        "https://huggingface.co/spaces/HuggingFaceH4/blogpost-scaling-test-time-compute"
    )
    cost_model: ClassVar[str] = "n generations (of one step) and as many scores a level; at most depth levels"

    n: int = Field(16, ge=1, le=1024, description="How many steps all trees together sample a level.")
    width: int = Field(4, ge=1, le=128, description="How many of them one tree does; it divides n.")
    final: Final = Field("vote", description="How to choose among finished answers: score or weighted vote.")

    @model_validator(mode="after")
    def _trees_are_whole(self) -> Self:
        if self.n % self.width:
            raise ValueError(f"n must be a multiple of width; {self.n} is none of {self.width}")
        return self

    def cost(self) -> Cost:
        """`n` steps and scores at each of `depth` levels."""
        return Cost(generations=self.n, scores=self.n) * self.depth

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Grow all trees level by level."""
        root = await run.start()
        # One call for all trees; equal steps of different trees stay apart.
        [first] = await run.expand([root], n=self.n, step=self.delimiter, span=self.step_tokens)
        families = [first[i : i + self.width] for i in range(0, len(first), self.width)]
        families = [distinct(family, run) for family in families]
        beams, ended, scores = [root] * len(families), list[Candidate](), dict[int, float]()
        for level in range(1, self.depth + 1):
            grown = [step for family in families for step in family]
            if not grown:
                break
            scores |= await self.judge(run, grown)
            ended += [step for step in grown if step.finish != "step"]
            # A tree for which the budget left nothing keeps what it has.
            beams = [
                _best(family, scores, run) if family else beam
                for beam, family in zip(beams, families, strict=True)
            ]
            beams = [beam for beam in beams if beam.finish == "step"]
            run.commit_prefix([c.text for c in (*beams, *ended)])
            if not beams or level == self.depth:
                break
            families = await self.grow(run, beams, self.width)
        return await conclude(run, [*ended, *beams], scores, self.final)


def _best(family: list[Candidate], scores: Scores, run: Run) -> Candidate:
    """The step that a tree goes on with; its open siblings are marked as pruned."""
    best = min(family, key=lambda c: (c.truncated, -scores.get(c.node, 0.0)))
    for step in family:
        if step is not best and step.finish == "step":
            run.trace.annotate(step.node, pruned=True)
    return best
