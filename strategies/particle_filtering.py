"""Particle filtering: partial answers as samples of a distribution that a process verifier reshapes.

Puri et al. 2025, A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based
Monte Carlo Methods; resampling schemes as in Douc and Cappé 2005, Comparison of Resampling Schemes for
Particle Filtering; iterations as in Andrieu et al. 2010, Particle Markov Chain Monte Carlo Methods.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost
from mull.strategies.steps import Final, StepSearch, conclude, distinct
from mull.types import Aggregation, Answer, Candidate, Task

Path = tuple[Candidate, ...]
"""A particle: its partial answers from the root to now."""

Resampling = Literal["multinomial", "systematic"]

_EDGE = 1e-6
"""How close to 0 and 1 a score may come, so that its logit is finite."""


class ParticleFiltering(StepSearch):
    """Lets `n` partial answers grow a step at a time and redistributes them by what the verifier says.

    After a step each particle is weighted with the odds of its score, sharpened by `weight_temperature`, and
    `n` particles are drawn anew; copies go apart again, as each samples its own next step. A finished answer
    takes part until all particles are finished ones; however often it is drawn, it is one candidate.
    `iterations` above 1 repeat this with one finished particle kept from the time before (particle Gibbs).
    Cost: at most `n` generated steps and scores a level and iteration.
    """

    source: ClassVar[str] = (
        "Puri et al. 2025, A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using "
        "Particle-Based Monte Carlo Methods, https://arxiv.org/abs/2502.01618"
    )
    cost_model: ClassVar[str] = (
        "n generations (of one step) and as many scores a level; at most depth levels; iterations times that"
    )

    n: int = Field(8, ge=1, le=1024, description="How many particles.")
    iterations: int = Field(
        1, ge=1, le=64, description="How often, each time with a particle of the last one."
    )
    resampling: Resampling = Field("multinomial", description="How particles are drawn anew.")
    resample_below: float = Field(
        1.0, ge=0, le=1, description="Draw anew when fewer than this share of the particles are effective."
    )
    weight_temperature: float = Field(
        1.0, ge=0.01, le=100, description="Divides the logits of scores: lower ones favour the best more."
    )
    aggregate: Aggregation = Field("last", description="How step scores become one score.")
    final: Final = Field("score", description="How to choose among finished answers: score or weighted vote.")

    def cost(self) -> Cost:
        """`n` steps and scores at each of `depth` levels of each iteration."""
        return Cost(generations=self.n, scores=self.n) * (self.depth * self.iterations)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Filter `iterations` times; everything that was ever finished is a candidate."""
        root = await run.start()
        cloud = _Cloud()
        reference: Path = ()
        for left in reversed(range(self.iterations)):
            particles = await self._filter(run, root, reference, cloud, commits=left == 0)
            if run.budget.exhausted:
                break
            reference = particles[draw("multinomial", self._weights(particles, cloud), 1, run.rng)[0]]
        live = [path[-1] for path in particles if path[-1].finish == "step"]
        return await conclude(run, [*cloud.ended, *live], cloud.scores, self.final)

    async def _filter(
        self, run: Run, root: Candidate, reference: Path, cloud: _Cloud, *, commits: bool
    ) -> list[Path]:
        """The particles when all have ended, or as far as depth and budget let them come.

        A reference is the first particle: it grows the way that it has grown before, and survives.
        """
        particles: list[Path] = [(root,)] * self.n
        for level in range(self.depth):
            moving = [i for i, path in enumerate(particles) if path[-1].finish in (None, "step")]
            if reference:
                particles[0] = reference[: level + 2]
                moving = [i for i in moving if i > 0]
            if not moving:
                break
            grown = await self._advance(run, particles, moving)
            if not grown:
                break
            cloud.scores |= await self.judge(run, grown)
            cloud.ended += [c for c in grown if c.finish != "step"]
            if any(path[-1].finish == "step" for path in particles):
                particles = self._redrawn(run, particles, reference, cloud)
            if commits:
                run.commit_prefix([c.text for c in (*cloud.ended, *(path[-1] for path in particles))])
        return particles

    async def _advance(self, run: Run, particles: list[Path], moving: Sequence[int]) -> list[Candidate]:
        """Let particles grow by a step, in place, copies of one in one call; the distinct new steps."""
        copies: dict[int, list[int]] = {}
        for i in moving:
            copies.setdefault(particles[i][-1].node, []).append(i)
        families = await run.together(
            [
                run.collect(
                    particles[same[0]][-1],
                    n=len(same),
                    step=self.delimiter,
                    span=self.step_tokens,
                    kind="step",
                )
                for same in copies.values()
            ]
        )
        grown: list[Candidate] = []
        for same, family in zip(copies.values(), families, strict=True):
            unique = {(c.text, c.finish): c for c in distinct(family, run)}
            grown += unique.values()
            for i, step in zip(same, family, strict=False):
                particles[i] = (*particles[i], unique[step.text, step.finish])
        return grown

    def _weights(self, particles: Sequence[Path], cloud: _Cloud) -> list[float]:
        """The odds of the particles' scores, sharpened; what is cut off has the worst."""
        logits = []
        for path in particles:
            score = 0.0 if path[-1].truncated else cloud.scores.get(path[-1].node, 0.0)
            score = min(max(score, _EDGE), 1 - _EDGE)
            logits.append(math.log(score / (1 - score)) / self.weight_temperature)
        most = max(logits)
        weights = [math.exp(logit - most) for logit in logits]
        return [weight / sum(weights) for weight in weights]

    def _redrawn(self, run: Run, particles: list[Path], reference: Path, cloud: _Cloud) -> list[Path]:
        """The particles drawn anew by weight, a reference kept, if too few of them are effective."""
        weights = self._weights(particles, cloud)
        if 1 / sum(weight**2 for weight in weights) > self.resample_below * self.n:
            return particles
        kept = [0] if reference else []
        drawn = [*kept, *draw(self.resampling, weights, self.n - len(kept), run.rng)]
        copies = Counter(particles[i][-1].node for i in drawn)
        for node in {path[-1].node for path in particles}:
            run.trace.annotate(node, copies=copies[node])
        return [particles[i] for i in drawn]


@dataclass
class _Cloud:
    """What all iterations have found."""

    ended: list[Candidate] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    """By trace node."""


def draw(how: Resampling, weights: Sequence[float], n: int, rng: random.Random) -> list[int]:
    """`n` indices, each drawn as often as its weight (they sum to 1) lets expect.

    `multinomial` draws each by itself; `systematic` takes `n` equidistant points after one random shift, so
    that an index comes up at least, and at most one more than, the whole part of `n` times its weight.
    """
    if how == "multinomial":
        return rng.choices(range(len(weights)), weights, k=n)
    bounds = list(itertools.accumulate(weights))
    shift = rng.random()
    return [min(bisect(bounds, (shift + i) / n), len(weights) - 1) for i in range(n)]
