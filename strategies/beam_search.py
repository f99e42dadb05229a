"""Beam search over reasoning steps, guided by a process verifier; with lookahead, by where steps lead.

Snell et al. 2024, Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model
Parameters, section 5; relative pruning as in Freitag and Al-Onaizan 2017, Beam Search Strategies for
Neural Machine Translation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost
from mull.strategies.growth import Family, Growth, growing
from mull.strategies.prospects import UNKNOWN, ZERO, Prospect, certain, probable
from mull.strategies.steps import Scores, StepSearch, conclude
from mull.types import Answer, Candidate, Task


class BeamSearch(StepSearch):
    """Keeps the `width` best partial answers and samples `expand` next steps from each, until all have ended.

    Equal continuations of one beam are merged. A finished answer keeps its place in the beam while it is
    among the best, and is never lost once it falls out. With `min` and `product`, whose scores only fall as
    an answer grows, the search ends as soon as no live beam can overtake the finished answers asked for.
    With `lookahead`, a step is scored by the end of a greedy rollout of so many steps more; the rollouts are
    thrown away, and it is no longer known what a live beam can become.
    Cost: at most `width * expand` generated steps, `lookahead` times as many rolled out, and `width * expand`
    scores a level.
    """

    source: ClassVar[str] = (
        "Snell et al. 2024, Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model "
        "Parameters, https://arxiv.org/abs/2408.03314"
    )
    cost_model: ClassVar[str] = (
        "width * expand * (1 + lookahead) generations (of one step) and width * expand scores a level; "
        "at most depth levels"
    )

    width: int = Field(4, ge=1, le=128, description="How many partial answers survive a level.")
    expand: int = Field(4, ge=1, le=128, description="How many next steps to sample from each of them.")
    prune: float = Field(
        0.0, ge=0, le=1, description="Drop beams that score below this share of the level's best one."
    )
    lookahead: int = Field(
        0, ge=0, le=32, description="Score a step by what it leads to so many steps further."
    )
    speculate: bool = Field(
        False,
        description="Continue probable survivors before their level has ended, not certain ones alone; what "
        "turns out to be in vain is cancelled, and billed.",
    )

    def cost(self) -> Cost:
        """`width * expand` steps, with their rollouts, and scores at each of `depth` levels.

        With speculation, at most `expand` steps more for each that is scored.
        """
        level = self.width * self.expand
        each = 1 + self.lookahead + (self.expand if self.speculate else 0)
        return Cost(generations=level * each, scores=level) * self.depth

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Search level by level; who will be among the best of a level goes on before it has ended.

        With a budget of tokens or samples, who gets the last of it must not depend on who comes first: then,
        and with lookahead, levels wait.
        """
        live = [await run.start()]
        ended: list[Candidate] = []
        scores: dict[int, float] = {}
        limited = run.budget.tokens_left is not None or run.budget.samples_left is not None
        async with growing(partial(self.steps, run)) as growth:
            for level in range(self.depth):
                n = self.expand if level else self.expand * self.width
                families = growth.take(live, n)
                waits = limited or self.lookahead or level + 1 == self.depth
                ahead = None if waits else partial(self._ahead, growth, ended, scores, task.n)
                await self._judged(run, growth, families, scores, ahead)
                grown = [step for family in families for step in family.settle(run.trace)]
                if not grown:
                    break
                # Beams that the budget did not let grow stay in the race.
                waiting = [f.origin for f in families if not f.children and f.origin.steps]
                ended += [c for c in grown if c.finish != "step"]
                steps = [*waiting, *(c for c in grown if c.finish == "step")]
                live = self._survivors([*ended, *steps], scores, run)
                run.commit_prefix([c.text for c in (*live, *ended)])
                if not live or (not self.lookahead and self.settled(live, ended, scores, task.n)):
                    break
        for node in [node.id for node in run.trace.nodes if node.parent in growth.vain]:
            run.trace.annotate(node, vain=True)
        # What is still live was cut off by the depth, the budget or the stop above; it ranks last.
        return await conclude(run, [*ended, *(c for c in live if c.steps)], scores)

    async def _judged(
        self,
        run: Run,
        growth: Growth,
        families: Sequence[Family],
        scores: dict[int, float],
        ahead: Callable[[Sequence[Family]], None] | None,
    ) -> None:
        """Judge the steps of a level; with `ahead`, which is told what there is, before all have come too."""
        judged, seen, looked = set[int](), 0, math.inf
        while True:
            came, coming = sum(len(f.children) for f in families), sum(f.coming for f in families)
            if 0 < coming > 0.75 * looked:
                await growth.news()
                continue
            # A look at all steps for each that comes would take long for a wide beam.
            looked = coming
            new = [step for family in families for step in family.distinct if step.node not in judged]
            early = False
            if ahead is not None:
                ahead(families)
                # A verifier likes large batches: none is smaller than what is still to come, or of no use.
                useful = self.speculate or coming < self.width
                undecided = any(step.finish == "step" and not growth.has(step) for step in new)
                early = useful and undecided and came - seen >= coming
            if new and (early or coming == 0):
                judged |= {step.node for step in new}
                seen, looked = came, math.inf
                scores |= await self._foreseen(run, new)
            elif coming == 0:
                return
            else:
                await growth.news()

    def _ahead(
        self,
        growth: Growth,
        ended: Sequence[Candidate],
        scores: Scores,
        n: int,
        families: Sequence[Family],
    ) -> None:
        """Let those steps grow already that will be among the best of their level."""
        rivals = [self._prospect(step, scores) for step in ended]
        for family in families:
            parent = self._prospect(family.origin, scores) if family.origin.steps else UNKNOWN
            # A step is taken to be worth what its parent is, and cannot be worth more if scores only fall.
            unknown = UNKNOWN._replace(high=parent.high if self.falling else math.inf, guess=parent.guess)
            rivals += [self._prospect(step, scores, unknown) for step in family.distinct]
            rivals += [unknown] * family.coming
        if self.speculate:
            survivors = probable(rivals, self.width, self.prune)
        else:
            survivors = certain(rivals, self.width, self.prune, n if self.falling else None)
        for step in survivors:
            if step.finish == "step":
                growth.begin(step, self.expand)

    def _prospect(self, step: Candidate, scores: Scores, unknown: Prospect = ZERO) -> Prospect:
        score = scores.get(step.node)
        if score is None:
            return unknown._replace(step=step, answer=step.complete)
        return Prospect(step=step, low=score, high=score, guess=score, answer=step.complete)

    async def _foreseen(self, run: Run, grown: list[Candidate]) -> dict[int, float]:
        """The scores of where the steps lead."""
        greedy = replace(run.task.sampling, temperature=0.0)
        ends = list(grown)
        for _ in range(self.lookahead):
            open_ends = [i for i, end in enumerate(ends) if end.finish == "step"]
            further = await run.expand(
                [ends[i] for i in open_ends],
                step=self.delimiter,
                span=self.step_tokens,
                sampling=greedy,
                kind="lookahead",
            )
            for i, family in zip(open_ends, further, strict=True):
                ends[i] = family[0] if family else ends[i]
        scores = await self.judge(run, ends)
        for step, end in zip(grown, ends, strict=True):
            if end is not step and end.node in scores:
                run.trace.annotate(step.node, foreseen=scores[end.node])
        return {
            step.node: scores[end.node] for step, end in zip(grown, ends, strict=True) if end.node in scores
        }

    def _survivors(self, beams: list[Candidate], scores: Scores, run: Run) -> list[Candidate]:
        """The live ones among the best `width`; the other live ones are marked as pruned."""
        ranked = sorted(beams, key=lambda c: -scores.get(c.node, 0.0))
        floor = self.prune * scores.get(ranked[0].node, 0.0)
        kept = [c for c in ranked[: self.width] if scores.get(c.node, 0.0) >= floor and c.finish == "step"]
        nodes = {c.node for c in kept}
        for beam in beams:
            if beam.finish == "step" and beam.node not in nodes:
                run.trace.annotate(beam.node, pruned=True)
        return kept
