"""Best-of-N: sample several answers and let a verifier choose.

Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems; weighted by equal answers as in
Li et al. 2023, Making Language Models Better Reasoners with Step-Aware Verifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.ranking import by_score, by_votes, read, with_scores
from mull.types import Aggregation, Answer, Choice, Task, VerifierKind


class BestOfN(StrategyModel):
    """Samples `n` answers and returns the one that the verifier scores highest.

    Cost: `n` generations and `n` verifier scores.
    """

    scores: ClassVar[VerifierKind | None] = "outcome"

    source: ClassVar[str] = (
        "Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems, https://arxiv.org/abs/2110.14168"
    )
    cost_model: ClassVar[str] = "n generations, n scores"

    n: int = Field(16, ge=1, le=1024, description="How many answers to sample.")
    aggregate: Aggregation = Field("min", description="How a process verifier's step scores become one.")
    length_penalty: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Taken off the score of the longest complete answer, and off others by their length.",
    )

    def cost(self) -> Cost:
        """`n` generations and as many scores."""
        return Cost(generations=self.n, scores=self.n)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, score, take the best."""
        return by_score(await self._scored(run))

    async def _scored(self, run: Run) -> list[Choice]:
        candidates = await run.collect(await run.start(), n=self.n)
        choices = await read(run, candidates)
        choices = with_scores(choices, await run.score(candidates, self.aggregate), self.aggregate)
        return self._penalised(choices) if self.length_penalty else choices

    def _penalised(self, choices: Sequence[Choice]) -> list[Choice]:
        """The choices with their scores lowered by their length, to 0 at most.

        What is cut off is as long as the longest complete answer at least, and loses no more than that.
        """
        longest = max((c.candidate.tokens for c in choices if c.candidate.complete), default=0)

        def score(choice: Choice) -> float | None:
            share = choice.candidate.tokens / longest if longest else 1.0
            lost = self.length_penalty * min(1.0, share)
            return None if choice.score is None else max(0.0, choice.score - lost)

        return [replace(choice, score=score(choice)) for choice in choices]


class WeightedBestOfN(BestOfN):
    """Samples `n` answers, sums the verifier's scores of equal answers and returns the heaviest answer.

    Cost: `n` generations and `n` verifier scores. Without any readable answer it is `best_of_n`.
    """

    source: ClassVar[str] = (
        "Li et al. 2023, Making Language Models Better Reasoners with Step-Aware Verifier, "
        "https://arxiv.org/abs/2206.02336"
    )

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, score, vote with the scores as weights."""
        choices = await self._scored(run)
        return by_votes(choices, [c.score or 0.0 for c in choices])
