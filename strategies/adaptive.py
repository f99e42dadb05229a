"""Compute-optimal allocation: a cheap probe says how hard the question is, and that says what to spend.

Snell et al. 2024, Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model
Parameters, section 3.2: difficulty as the model sees it, estimated without the right answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.errors import BudgetTooSmall, Unsupported
from mull.run import Run
from mull.strategies.base import Cost, Many, Needs, StrategyModel
from mull.strategies.leftover import followed_by
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.nested import Inner
from mull.strategies.ranking import by_votes, read
from mull.types import Answer, Candidate, Choice, Task


class Level(BaseModel):
    """What to do with questions whose signal is at least so high."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_least: float = Field(description="Lowest signal of this level; 0 for the last one.")
    inner: Inner = Field(description="The strategy that solves such questions.")


class Adaptive(StrategyModel):
    """Draws `samples` answers as a probe, turns them into a signal of ease, and goes on as its level says.

    With `difficulty` nothing is drawn: a head trained for it reads the question alone. The first level whose
    `at_least` the signal reaches decides. Its strategy is given the probe's answers:
    one that samples whole answers pays for the rest only. Answers of the probe that it did not use stay
    candidates behind its own. A probe cut short by the budget is judged by what there is of it; when nothing
    is left for the level, the probe's own vote is the answer.
    Cost: `samples` generations, then at most what the dearest level costs.
    """

    source: ClassVar[str] = (
        "Snell et al. 2024, Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model "
        "Parameters, https://arxiv.org/abs/2408.03314"
    )
    cost_model: ClassVar[str] = (
        "samples generations (and scores, by score), then the level's cost less the samples that it reuses"
    )

    samples: int = Field(
        4, ge=1, le=64, description="How many answers the probe draws; none with signal difficulty."
    )
    signal: Literal["agreement", "confidence", "score", "difficulty"] = Field(
        "agreement",
        description=(
            "What says how easy the question is: the share of the probe's most frequent answer, its mean "
            "token probability, its mean verifier score, or what a verifier of kind difficulty says of it."
        ),
    )
    levels: Many[Level] = Field(
        (
            Level(at_least=1.0, inner=Inner.of(MajorityVote(n=4))),
            Level(at_least=0.5, inner=Inner.of(MajorityVote(n=16))),
            Level(at_least=0.0, inner=Inner.of(MajorityVote(n=40))),
        ),
        max_length=16,
        description="Strategies by the least signal they are meant for, easiest first, the last with 0.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        bounds = [level.at_least for level in self.levels]
        if not bounds or bounds[-1] != 0:
            raise ValueError(f"levels: the last at_least must be 0, not those of {bounds}")
        if any(low >= high for high, low in pairwise(bounds)):
            raise ValueError(f"levels: at_least must fall from level to level, not {bounds}")
        return self

    @property
    def needs(self) -> Needs:
        """What any of the levels needs, and a verifier where it gives the signal."""
        needs = super().needs
        for level in self.levels:
            needs |= level.inner.needs
        return needs | Needs(
            verifier="outcome" if self.signal == "score" else None, difficulty=self.signal == "difficulty"
        )

    def cost(self) -> Cost:
        """The probe and the dearest level."""
        dearest = Cost(generations=0)
        for level in self.levels:
            dearest |= level.inner.cost()
        if self.signal == "difficulty":
            return dearest
        return dearest + Cost(generations=self.samples, scores=self.samples if self.signal == "score" else 0)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Probe, choose a level, solve."""
        if self.signal == "difficulty":
            return await self._level(await run.ease() or 0.0, [], run)
        probe = await self._probe(run)
        choices = await read(run, probe)
        signal = await self._measure(choices, run)
        try:
            answer = await self._level(signal, probe, run)
        except BudgetTooSmall:
            return by_votes(choices, [1.0] * len(choices))
        return followed_by(answer, choices, run)

    async def _level(self, signal: float, probe: Sequence[Candidate], run: Run) -> Answer:
        number = next(i for i, level in enumerate(self.levels) if signal >= level.at_least)
        node = run.mark("adaptive", signal=signal, by=self.signal, level=number, samples=len(probe))
        return await self.levels[number].inner.solve(run, drawn=probe, under=node, commits=True)

    async def _probe(self, run: Run) -> list[Candidate]:
        asked = run.task.sampling
        told = self.signal == "confidence" and asked.logprobs is None
        sampling = replace(asked, logprobs=0) if told else None
        return await run.collect(await run.start(), n=self.samples, sampling=sampling)

    async def _measure(self, choices: Sequence[Choice], run: Run) -> float:
        """How easy the question looks, in [0, 1]."""
        candidates = [choice.candidate for choice in choices]
        if self.signal == "score":
            known = [s.reduce("min") for s in await run.score(candidates) if s.known]
            return max(0.0, fmean(known)) if known else 0.0
        if self.signal == "confidence":
            return fmean(_probability(candidate) for candidate in candidates)
        votes = Counter(choice.answer for choice in choices if choice.answer is not None)
        return max(votes.values(), default=0) / len(choices)


def _probability(candidate: Candidate) -> float:
    """Geometric mean of the probabilities of a candidate's tokens; 0 when it has none."""
    if not candidate.logprobs and candidate.tokens:
        raise Unsupported("this model's engine gives no log-probabilities", param="ttc.strategy")
    mean = fmean([t.logprob for t in candidate.logprobs] or [-math.inf])
    return math.exp(min(0.0, mean))
