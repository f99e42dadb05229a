"""Best-of-N that gives up on the worst answers while they are being written.

Sun et al. 2024, Fast Best-of-N Decoding via Speculative Rejection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.ranking import by_score, read
from mull.types import Aggregation, Answer, Candidate, Task, VerifierKind


class SpeculativeRejection(StrategyModel):
    """Begins `n` answers; every `span` tokens the verifier scores them and the lowest share is dropped.

    Answers that have ended are never dropped and take no part in the share; the last one that is still being
    written is finished without further checks. The highest score wins. Ties go to the earlier sample, which
    is the same whatever the lengths.
    Cost: at most `n + n (1 - reject) + n (1 - reject)^2 + ... + 1` spans, and as many scores.
    """

    scores: ClassVar[VerifierKind | None] = "outcome"
    continues: ClassVar[bool] = True

    source: ClassVar[str] = (
        "Sun et al. 2024, Fast Best-of-N Decoding via Speculative Rejection, https://arxiv.org/abs/2410.20290"
    )
    cost_model: ClassVar[str] = (
        "n generations of span tokens, then (1 - reject) as many and so on, the last to its end; "
        "as many scores"
    )

    n: int = Field(16, ge=1, le=1024, description="How many answers to begin.")
    span: int = Field(32, ge=1, le=65536, description="Tokens between two rounds of rejection.")
    reject: float = Field(
        0.5, gt=0, lt=1, description="Share of the unfinished answers that a round drops; one at least."
    )
    aggregate: Aggregation = Field("min", description="How a process verifier's step scores become one.")

    def cost(self) -> Cost:
        """The rounds' fields, from `n` down to one."""
        total, field = self.n, self.n
        while field > 1:
            field = self._kept(field)
            total += field
        return Cost(generations=total, scores=total)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Write, score, reject, until all that are left have ended."""
        span = self.span if self.n > 1 else None
        field = await run.collect(await run.start(), n=self.n, span=span, kind="part")
        scores = await self._scored(field, run)
        live = self._survivors(field, range(len(field)), scores, run)
        while live:
            span = self.span if len(live) > 1 else None
            grown = await run.expand([field[i] for i in live], span=span)
            for i, more in zip(live, grown, strict=True):
                field[i] = more[0] if more else field[i]
            scores |= await self._scored([c for more in grown for c in more], run)
            if not all(grown):
                break
            live = self._survivors(field, live, scores, run)
        choices = await read(run, field)
        return by_score([replace(c, score=scores.get(c.candidate.node)) for c in choices])

    def _kept(self, unfinished: int) -> int:
        """How many of so many unfinished answers a round keeps."""
        return max(1, min(unfinished - 1, math.ceil(unfinished * (1 - self.reject))))

    async def _scored(self, candidates: Sequence[Candidate], run: Run) -> dict[int, float]:
        """Known scores by trace node."""
        judged = await run.score(candidates, self.aggregate)
        return {c.node: s.reduce(self.aggregate) for c, s in zip(candidates, judged, strict=True) if s.known}

    def _survivors(
        self, field: Sequence[Candidate], live: Sequence[int], scores: dict[int, float], run: Run
    ) -> list[int]:
        """Which of the live ones are unfinished and stay, in the order of sampling; the others are marked."""
        unfinished = [i for i in live if field[i].finish == "step"]
        if len(unfinished) < 2:
            return unfinished
        ranked = sorted(unfinished, key=lambda i: -scores.get(field[i].node, 0.0))
        for i in ranked[self._kept(len(unfinished)) :]:
            run.trace.annotate(field[i].node, pruned=True)
        return sorted(ranked[: self._kept(len(unfinished))])
