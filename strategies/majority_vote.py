"""Self-consistency: the answer that most samples agree on.

Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning in Language Models.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.ranking import by_votes, read
from mull.types import Answer, Task


class MajorityVote(StrategyModel):
    """Samples `n` answers and returns the most frequent one, equality being mathematical.

    Cost: `n` generations, no verifier. Truncated samples and samples without an answer do not vote.
    """

    source: ClassVar[str] = (
        "Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning in Language Models, "
        "https://arxiv.org/abs/2203.11171"
    )
    cost_model: ClassVar[str] = "n generations"

    n: int = Field(16, ge=1, le=1024, description="How many answers to sample.")

    def cost(self) -> Cost:
        """`n` generations."""
        return Cost(generations=self.n)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, read, vote."""
        choices = await read(run, await run.collect(await run.start(), n=self.n))
        return by_votes(choices, [1.0] * len(choices))
