"""Self-consistency that stops sampling once the vote is as good as decided.

Aggarwal et al. 2023, Let's Sample Step by Step: Adaptive-Consistency for Efficient Reasoning and Coding
with LLMs. The rule `predictive` is the predictive probability of a sequential trial: Lee and Liu 2008, A
predictive probability design for phase II cancer clinical trials.
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

    `predictive` asks about the vote of `n` instead of an endless one: how probable it is, by the same prior,
    that the leader is ahead of the runner-up once all `n` are drawn. It is never less sure than `beta`, and
    the surer the fewer samples are left, so it also ends votes that an endless one would leave open.
    Cost: at most `n` generations; `batch` at least.
    """

    source: ClassVar[str] = (
        "Aggarwal et al. 2023, Let's Sample Step by Step: Adaptive-Consistency for Efficient Reasoning and "
        "Coding with LLMs, https://arxiv.org/abs/2305.11860; predictive: Lee and Liu 2008, A predictive "
        "probability design for phase II cancer clinical trials, https://doi.org/10.1177/1740774508089279"
    )
    cost_model: ClassVar[str] = "n generations at most, batch at least; n / 3.3 on average in the paper"

    n: int = Field(40, ge=1, le=1024, description="How many answers to sample at most.")
    batch: int = Field(4, ge=1, le=256, description="How many to sample before each decision.")
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="How probable it must be that the leading answer stays the leader."
    )
    rule: Literal["beta", "dirichlet", "predictive"] = Field(
        "beta",
        description="What is asked of an endless vote: that the leader beats the runner-up (beta), or all "
        "others (dirichlet). Predictive: that it is ahead of the runner-up once all n are drawn.",
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
        if self.rule == "predictive":
            sure = leads_at_end(votes, drawn=len(groups), n=self.n)
        else:
            sure = (leads_by_beta if self.rule == "beta" else leads_by_dirichlet)(votes)
        return sure >= self.confidence


def leads_by_beta(votes: Sequence[int]) -> float:
    """Probability that the first of two answers has the larger share, from votes in falling order.

    The share of the first is Beta(a, b) with a and b one more than their votes. For whole numbers, that it
    exceeds 1/2 has the probability of at most a - 1 heads in a + b - 1 tosses of a coin.
    """
    first, second = votes[0] + 1, (votes[1] if len(votes) > 1 else 0) + 1
    tosses = first + second - 1
    favourable: int = sum(math.comb(tosses, heads) for heads in range(first))
    return favourable / (1 << tosses)


def leads_at_end(votes: Sequence[int], *, drawn: int, n: int) -> float:
    """Probability that the first of two answers is ahead once all `n` are drawn, from votes in falling order.

    With a uniform prior over the shares of the first, the second and all else (other answers, and samples
    without one), the draws to come are those of a Polya urn: how many go to the two is beta-binomial, and so
    is how many of these go to the first. A tie in the end counts half.

    Args:
        votes: Of each answer.
        drawn: How many samples there are, those without an answer too.
        n: How many there will be.
    """
    first, second = votes[0], votes[1] if len(votes) > 1 else 0
    lead, left, both = first - second, n - drawn, first + second + 2
    if lead > left:
        return 1.0
    ahead, total = (1.0 if lead else 0.5), 0.0
    for more in range(left + 1):
        total += _urn(more, left, both, drawn - first - second + 1) * ahead
        if (lead + more) % 2:
            # Only from one vote apart can the next one for the two change who is ahead: from a tie it goes
            # to either with the same probability.
            above, below = (more - lead + 1) // 2, (more - lead - 1) // 2
            lost = _urn(above, more, first + 1, second + 1) * (second + 1 + more - above)
            won = _urn(below, more, first + 1, second + 1) * (first + 1 + below)
            ahead += 0.5 * (won - lost) / (both + more)
    return min(1.0, total)


def _urn(k: int, n: int, a: int, b: int) -> float:
    """Probability of `k` balls of one colour in `n` draws from a Polya urn with `a` of it and `b` others."""
    if not 0 <= k <= n:
        return 0.0
    ways = _log_beta(k + a, n - k + b) - _log_beta(a, b) - _log_beta(k + 1, n - k + 1) - math.log(n + 1)
    return math.exp(ways)


def _log_beta(a: int, b: int) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


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
