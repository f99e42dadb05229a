"""Beam search over tokens: the most probable answer rather than a sampled one.

Freitag and Al-Onaizan 2017, Beam Search Strategies for Neural Machine Translation; length normalisation as in
Murray and Chiang 2018, Correcting Length Bias in Neural Machine Translation, with an exponent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.strategies.ranking import by_score, read
from mull.strategies.tokens import options, turned, watched
from mull.types import Answer, Candidate, Task


@dataclass(frozen=True, kw_only=True)
class _Beam:
    """A partial answer and its log-probability."""

    candidate: Candidate
    logprob: float = 0.0

    def score(self, penalty: float) -> float:
        """Log-probability, divided by a power of the length."""
        return self.logprob / math.pow(max(1, self.candidate.tokens), penalty)


class TokenBeamSearch(StrategyModel):
    """Keeps the `width` most probable partial answers and lets each grow by its most probable tokens.

    The model's own probabilities decide: temperature, `top_p` and `top_k` do not apply. An ending counts when
    it is among the `width` best continuations. The search ends when no partial answer has, at its present
    length, a better score than the finished ones that the request asks for.
    Cost: one generated token for each of `width` answers and each of `length` tokens.
    """

    continues: ClassVar[bool] = True

    source: ClassVar[str] = (
        "Freitag and Al-Onaizan 2017, Beam Search Strategies for Neural Machine Translation, "
        "https://arxiv.org/abs/1702.01806"
    )
    cost_model: ClassVar[str] = "width * length generations (of one token)"

    width: int = Field(4, ge=1, le=10, description="How many partial answers are kept.")
    length: int = Field(
        512, ge=1, le=65536, description="Longest answer, in tokens; longer ones are cut off."
    )
    length_penalty: float = Field(
        1.0, ge=0, le=4, description="Log-probabilities are divided by the length to this power."
    )

    @property
    def needs(self) -> Needs:
        """An engine that continues partial answers and tells which tokens end them."""
        return Needs(continues=True, ends=True)

    def cost(self) -> Cost:
        """`width` tokens for each of `length`."""
        return Cost(generations=self.width * self.length)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Search token by token."""
        live, ended = [_Beam(candidate=await run.start())], list[_Beam]()
        greedy = watched(task.sampling, 2 * self.width, temperature=0.0)
        for _ in range(self.length):
            families = await run.expand(
                [beam.candidate for beam in live], span=1, sampling=greedy, kind="token"
            )
            if not all(families):
                break
            sampled = [family[0] for family in families]
            ended += [
                replace(beam, candidate=token)
                for beam, token in zip(live, sampled, strict=True)
                if token.truncated
            ]
            live, finished = self._next(run, live, sampled)
            ended += finished
            run.commit_prefix([beam.candidate.text for beam in (*live, *ended)])
            if not live or self._settled(live, ended, task.n):
                break
        beams = [beam for beam in (*ended, *live) if beam.candidate.steps]
        scores = {beam.candidate.node: math.exp(beam.score(self.length_penalty)) for beam in beams}
        choices = await read(run, [beam.candidate for beam in beams])
        return by_score([replace(choice, score=scores[choice.candidate.node]) for choice in choices])

    def _next(
        self, run: Run, live: Sequence[_Beam], sampled: Sequence[Candidate]
    ) -> tuple[list[_Beam], list[_Beam]]:
        """The beams a token later: those that go on, and those that end."""
        ways = [
            (-beam.logprob - option[2], i, option)
            for i, (beam, token) in enumerate(zip(live, sampled, strict=True))
            if not token.truncated
            for option in options(token.logprobs[-1])
        ]
        going, ending, used = list[_Beam](), list[_Beam](), set[int]()
        for rank, (cost, i, option) in enumerate(sorted(ways, key=lambda way: way[:2])):
            if len(going) == self.width:
                break
            if option[1] in run.ends and rank >= self.width:
                continue
            token = sampled[i]
            at = token.logprobs[-1]
            if option[1] == at.id:
                grown = token
                used.add(i)
            else:
                grown = turned(run, live[i].candidate, (), at, option)
            beam = _Beam(candidate=replace(grown, steps=(grown.text,)), logprob=-cost)
            (ending if grown.complete else going).append(beam)
        for i, token in enumerate(sampled):
            if i not in used and not token.truncated:
                run.trace.annotate(token.node, pruned=True)
        return going, ending

    def _settled(self, live: Sequence[_Beam], ended: Sequence[_Beam], n: int) -> bool:
        """Whether the best `n` finished answers are at least as good as all others are now."""
        scores = (beam.score(self.length_penalty) for beam in ended if beam.candidate.complete)
        finished = sorted(scores, reverse=True)
        return len(finished) >= n and finished[n - 1] >= max(b.score(self.length_penalty) for b in live)
