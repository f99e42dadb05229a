"""Beam search over reasoning steps, guided by a process verifier.

Snell et al. 2024, Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model
Parameters, section 5; relative pruning as in Freitag and Al-Onaizan 2017, Beam Search Strategies for
Neural Machine Translation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.ranking import by_score, read
from mull.types import Aggregation, Answer, Candidate, Finish, Task, VerifierKind


class BeamSearch(StrategyModel):
    """Keeps the `width` best partial answers and samples `expand` next steps from each, until all have ended.

    Equal continuations of one beam are merged. A finished answer keeps its place in the beam while it is
    among the best, and is never lost once it falls out. With `min` and `product`, whose scores only fall as
    an answer grows, the search ends as soon as no live beam can overtake the finished answers asked for.
    Cost: at most `width * expand` generated steps and as many step scores a level.
    """

    scores: ClassVar[VerifierKind | None] = "process"
    continues: ClassVar[bool] = True

    source: ClassVar[str] = (
        "Snell et al. 2024, Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model "
        "Parameters, https://arxiv.org/abs/2408.03314"
    )
    cost_model: ClassVar[str] = (
        "width * expand generations (of one step) and as many scores a level; at most depth levels"
    )

    width: int = Field(4, ge=1, le=128, description="How many partial answers survive a level.")
    expand: int = Field(4, ge=1, le=128, description="How many next steps to sample from each of them.")
    depth: int = Field(40, ge=1, le=1000, description="Longest answer, in steps; longer ones are cut off.")
    delimiter: str = Field("\n", min_length=1, max_length=32, description="What ends a step.")
    aggregate: Aggregation = Field("min", description="How step scores become one score.")
    prune: float = Field(
        0.0, ge=0, le=1, description="Drop beams that score below this share of the level's best one."
    )

    def cost(self) -> Cost:
        """`width * expand` steps and scores at each of `depth` levels."""
        return Cost(generations=1, scores=1) * (self.width * self.expand * self.depth)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Search level by level."""
        live = [await run.start()]
        ended: list[Candidate] = []
        scores: dict[int, float] = {}  # by trace node
        for level in range(self.depth):
            n = self.expand if level else self.expand * self.width
            grown = _distinct(await run.expand(live, n=n, step=self.delimiter), run)
            if not grown:
                break
            judged = await run.score(grown, self.aggregate)
            scores |= {
                c.node: s.reduce(self.aggregate) for c, s in zip(grown, judged, strict=True) if s.known
            }
            ended += [c for c in grown if c.finish != "step"]
            live = self._survivors([*ended, *(c for c in grown if c.finish == "step")], scores, run)
            run.commit_prefix([c.text for c in (*live, *ended)])
            if not live or self._settled(live, ended, scores, task.n):
                break
        # What is still live was cut off by the depth, the budget or the stop above; it ranks last.
        choices = await read(run, [*ended, *(c for c in live if c.steps)])
        return by_score([replace(choice, score=scores.get(choice.candidate.node)) for choice in choices])

    def _survivors(self, beams: list[Candidate], scores: dict[int, float], run: Run) -> list[Candidate]:
        """The live ones among the best `width`; the other live ones are marked as pruned."""
        ranked = sorted(beams, key=lambda c: -scores.get(c.node, 0.0))
        floor = self.prune * scores.get(ranked[0].node, 0.0)
        kept = [c for c in ranked[: self.width] if scores.get(c.node, 0.0) >= floor and c.finish == "step"]
        for beam in beams:
            if beam.finish == "step" and beam.node not in {c.node for c in kept}:
                run.trace.annotate(beam.node, pruned=True)
        return kept

    def _settled(
        self, live: list[Candidate], ended: list[Candidate], scores: dict[int, float], n: int
    ) -> bool:
        """Whether the best `n` finished answers are at least as good as anything a live beam can become."""
        if self.aggregate not in ("min", "product"):
            return False
        finished = sorted((scores.get(c.node, 0.0) for c in ended if c.complete), reverse=True)
        return len(finished) >= n and finished[n - 1] >= max(scores.get(c.node, 0.0) for c in live)


def _distinct(families: list[list[Candidate]], run: Run) -> list[Candidate]:
    """All children, equal continuations of one parent merged into the first of them."""
    unique: dict[tuple[int, str, Finish | None], Candidate] = {}
    for parent, children in enumerate(families):
        for child in children:
            kept = unique.setdefault((parent, child.text, child.finish), child)
            if kept is not child:
                run.trace.annotate(child.node, merged=True)
    return list(unique.values())
