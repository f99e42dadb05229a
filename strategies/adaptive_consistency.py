"""Self-consistency that stops sampling once the vote is as good as decided.

Aggarwal et al. 2023, Let's Sample Step by Step: Adaptive-Consistency for Efficient Reasoning and Coding
with LLMs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.stopping import vote_until
from mull.types import Answer, Task


class AdaptiveConsistency(StrategyModel):
    """Samples in batches until the leading answer is the most likely one with a probability of `confidence`.

    The shares of the answers in an endless vote are unknown; from a uniform prior the votes cast make them
    Beta distributed (the two leading answers alone) or Dirichlet distributed (all answers seen). Samples
    without a readable answer cast no vote and do not move that probability, but count among the `n`.
    Cost: at most `n` generations; `batch` at least.
    """

    source: ClassVar[str] = (
        "Aggarwal et al. 2023, Let's Sample Step by Step: Adaptive-Consistency for Efficient Reasoning and "
        "Coding with LLMs, https://arxiv.org/abs/2305.11860"
    )
    cost_model: ClassVar[str] = "n generations at most, batch at least; n / 3.3 on average in the paper"

    n: int = Field(40, ge=1, le=1024, description="How many answers to sample at most.")
    batch: int = Field(4, ge=1, le=256, description="How many to sample before each decision.")
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="How probable it must be that the leading answer stays the leader."
    )
    rule: Literal["beta", "dirichlet"] = Field(
        "beta", description="Whether the two leading answers alone are compared, or all of them."
    )

    def cost(self) -> Cost:
        """`n` generations."""
        return Cost(generations=self.n)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, read, vote, batch by batch."""
        return await vote_until(run, self._decided, n=self.n, batch=self.batch)

    def _decided(self, groups: Sequence[int | None]) -> bool:
        votes = [count for _, count in Counter(g for g in groups if g is not None).most_common()]
        if not votes:
            return False
        leads = leads_by_beta if self.rule == "beta" else leads_by_dirichlet
        return leads(votes) >= self.confidence


def leads_by_beta(votes: Sequence[int]) -> float:
    """Probability that the first of two answers has the larger share, from votes in falling order.

    The share of the first is Beta(a, b) with a and b one more than their votes. For whole numbers, that it
    exceeds 1/2 has the probability of at most a - 1 heads in a + b - 1 tosses of a coin.
    """
    first, second = votes[0] + 1, (votes[1] if len(votes) > 1 else 0) + 1
    tosses = first + second - 1
    favourable: int = sum(math.comb(tosses, heads) for heads in range(first))
    return favourable / (1 << tosses)


def leads_by_dirichlet(votes: Sequence[int], *, points: int = 400) -> float:
    """Probability that the first of several answers has the largest share, from votes in falling order.

    Shares of a Dirichlet are independent Gammas over their sum, so this is the integral of the first one's
    density times the others' distribution functions; Gammas of whole shapes need no special functions.
    A lone answer is held against one that nobody has given yet.
    """
    first, others = votes[0] + 1, Counter(v + 1 for v in (votes[1:] or [0]))
    # 9 standard deviations about the first one's mean leave out less than 1e-12.
    width = 9 * math.sqrt(first) + 9
    low, high = max(0.0, first - width), first + width
    step = (high - low) / points
    total = 0.0
    for i in range(points + 1):
        weight = 1 if i in (0, points) else 4 if i % 2 else 2  # Simpson's rule
        total += weight * _lead_at(low + i * step, first, others)
    return min(1.0, total * step / 3)


def _lead_at(x: float, first: int, others: Counter[int]) -> float:
    """The density of Gamma(first) at x, times the probability of each other one to be below x."""
    if x == 0.0:
        return 0.0
    # Poisson terms e^-x x^j / j!: the density of Gamma(a) is term a - 1; terms below a sum to its tail.
    terms = [math.exp(j * math.log(x) - x - math.lgamma(j + 1)) for j in range(max(first, *others))]
    product = terms[first - 1]
    for shape, count in others.items():
        product *= max(0.0, 1.0 - math.fsum(terms[:shape])) ** count
    return product
