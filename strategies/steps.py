"""What the searches over reasoning steps have in common: their parameters, growing, judging, concluding."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.base import StrategyModel
from mull.strategies.ranking import by_score, by_votes, read
from mull.types import Aggregation, Answer, Candidate, Finish, Sampling, VerifierKind

Final = Literal["score", "vote"]
"""How finished answers are chosen among: the best score, or the largest sum of equal answers' scores."""

Scores = Mapping[int, float]
"""Scores of candidates by their trace node; a node without one counts as 0."""


class StepSearch(StrategyModel):
    """Base of the strategies that grow answers step by step under a process verifier."""

    scores: ClassVar[VerifierKind | None] = "process"
    continues: ClassVar[bool] = True

    depth: int = Field(40, ge=1, le=1000, description="Longest answer, in steps; longer ones are cut off.")
    delimiter: str = Field("\n", min_length=1, max_length=32, description="What ends a step.")
    step_tokens: int | None = Field(
        None, ge=1, description="Longest step, in tokens; a longer one counts as several."
    )
    aggregate: Aggregation = Field("min", description="How step scores become one score.")

    async def grow(
        self, run: Run, origins: Sequence[Candidate], n: int, sampling: Sampling | None = None
    ) -> list[list[Candidate]]:
        """`n` next steps of each origin, one call each, equal ones merged."""
        families = await run.expand(
            origins, n=n, step=self.delimiter, span=self.step_tokens, sampling=sampling
        )
        return [distinct(family, run) for family in families]

    def steps(self, run: Run, origin: Candidate, n: int) -> AsyncGenerator[Candidate, None]:
        """`n` next steps of an origin, in the order in which they finish."""
        return run.sample(origin, n=n, step=self.delimiter, span=self.step_tokens, kind="step")

    async def judge(self, run: Run, candidates: Sequence[Candidate]) -> dict[int, float]:
        """The candidates' scores by their trace node; unknown ones are left out."""
        judged = await run.score(candidates, self.aggregate)
        return {c.node: s.reduce(self.aggregate) for c, s in zip(candidates, judged, strict=True) if s.known}

    @property
    def falling(self) -> bool:
        """Whether a score only falls as an answer grows; a step that was cut off may be worth more whole."""
        return self.aggregate in ("min", "product") and self.step_tokens is None

    def settled(self, live: Sequence[Candidate], ended: Sequence[Candidate], scores: Scores, n: int) -> bool:
        """Whether the best `n` finished answers are at least as good as anything a live one can become.

        With `min` and `product`, scores only fall as an answer grows; with the others nobody can tell.
        """
        if not self.falling:
            return False
        finished = sorted((scores.get(c.node, 0.0) for c in ended if c.complete), reverse=True)
        return len(finished) >= n and finished[n - 1] >= max(
            (scores.get(c.node, 0.0) for c in live), default=0.0
        )

    async def finish(self, run: Run, partial: Sequence[Candidate], scores: Scores) -> list[Candidate]:
        """The best partial answer finished in one go; nothing if there is none."""
        return await run.collect(ranked(partial, scores)[0], kind="rollout") if partial else []


def ranked(candidates: Sequence[Candidate], scores: Scores) -> list[Candidate]:
    """Best score first; of equal ones the longest, then the earliest."""
    return sorted(candidates, key=lambda c: (-scores.get(c.node, 0.0), -len(c.steps)))


def distinct(family: Sequence[Candidate], run: Run) -> list[Candidate]:
    """The children of one parent, equal ones merged into the first of them."""
    unique: dict[tuple[str, Finish | None], Candidate] = {}
    for child in family:
        kept = unique.setdefault((child.text, child.finish), child)
        if kept is not child:
            run.trace.annotate(child.node, merged=True)
    return list(unique.values())


async def conclude(
    run: Run, candidates: Sequence[Candidate], scores: Scores, final: Final = "score"
) -> Answer:
    """Read the candidates, each node once, and choose by score, or by a vote weighted with the scores.

    Raises:
        BudgetTooSmall: there is no candidate.
    """
    nodes = {c.node: c for c in reversed(candidates)}
    once = [c for c in candidates if nodes[c.node] is c]
    choices = [replace(c, score=scores.get(c.candidate.node)) for c in await read(run, once)]
    if final == "score":
        return by_score(choices)
    return by_votes(choices, [choice.score or 0.0 for choice in choices])
