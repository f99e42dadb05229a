"""Breadth-first and depth-first search over reasoning steps, with pruning.

Yao et al. 2023, Tree of Thoughts, algorithms 1 and 2, with sampled steps as thoughts and a process verifier
as the state evaluator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost
from mull.strategies.steps import Final, Scores, StepSearch, conclude, ranked
from mull.types import Answer, Candidate, Task


class TreeSearch(StepSearch):
    """Base of both: what a node gets, what is pruned, what is done when nothing has finished."""

    source: ClassVar[str] = (
        "Yao et al. 2023, Tree of Thoughts: Deliberate Problem Solving with Large Language Models, "
        "https://arxiv.org/abs/2305.10601"
    )

    branch: int = Field(4, ge=1, le=64, description="How many next steps to sample from each partial answer.")
    threshold: float = Field(0.5, ge=0, le=1, description="Partial answers that score below it are pruned.")
    final: Final = Field("score", description="How to choose among finished answers: score or weighted vote.")

    def _best(self, steps: Sequence[Candidate], scores: Scores, width: int, run: Run) -> list[Candidate]:
        """The open steps among the best `width` that reach the threshold; the others are marked as pruned."""
        ordered = sorted((c for c in steps if c.finish == "step"), key=lambda c: -scores.get(c.node, 0.0))
        kept = [c for c in ordered[:width] if scores.get(c.node, 0.0) >= self.threshold]
        for step in ordered[len(kept) :]:
            run.trace.annotate(step.node, pruned=True)
        return kept

    async def _answer(
        self, run: Run, ended: list[Candidate], partial: list[Candidate], scores: dict[int, float]
    ) -> Answer:
        """The finished answers; where there are none, the best of the partial ones, finished in one go."""
        if not any(c.complete for c in ended):
            finished = await self.finish(run, partial, scores)
            scores |= await self.judge(run, finished)
            ended = [*ended, *finished]
        partial = [] if any(c.complete for c in ended) else ranked(partial, scores)
        return await conclude(run, [*ended, *partial], scores, self.final)


class BreadthFirst(TreeSearch):
    """Goes through the tree level by level, keeping the best `width` partial answers that reach `threshold`.

    Unlike in `beam_search`, finished answers take no place, and what scores below the threshold is dropped
    however good it is among its level. With `min` and `product`, whose scores only fall as an answer grows,
    the search ends when no partial answer can overtake the finished ones. If all have been pruned before one
    has finished, the best of them is, in one go.
    Cost: at most `width * branch` generated steps and scores a level.
    """

    cost_model: ClassVar[str] = (
        "width * branch generations (of one step) and scores a level, at most depth levels; one more of both "
        "where no answer has finished"
    )

    width: int = Field(8, ge=1, le=256, description="How many partial answers of a level are kept at most.")

    def cost(self) -> Cost:
        """`width * branch` steps and scores at each of `depth` levels, and an answer finished at the end."""
        most = self.width * self.branch * self.depth + 1
        return Cost(generations=most, scores=most)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Search level by level."""
        level = [await run.start()]
        ended, dropped, scores = list[Candidate](), list[Candidate](), dict[int, float]()
        for _ in range(self.depth):
            families = await self.grow(run, level, self.branch)
            grown = [step for family in families for step in family]
            if not grown:
                break
            scores |= await self.judge(run, grown)
            ended += [step for step in grown if step.finish != "step"]
            # What the budget did not allow to be continued has not been pruned either.
            waiting = [beam for beam, family in zip(level, families, strict=True) if not family]
            level = self._best([*grown, *waiting], scores, self.width, run)
            kept = {step.node for step in level}
            dropped += [c for c in (*grown, *waiting) if c.finish == "step" and c.node not in kept]
            run.commit_prefix([c.text for c in (*level, *dropped, *ended)])
            if not level or self.settled(level, ended, scores, task.n):
                break
        return await self._answer(run, ended, [c for c in (*level, *dropped) if c.steps], scores)


class DepthFirst(TreeSearch):
    """Follows the best step; where nothing that comes of it reaches `threshold`, goes back to the next best.

    The search ends with the first finished answer (or the first `n` that the request asks for) that reaches
    the threshold, or when it has expanded `expansions` partial answers. If none has finished by then, the
    best partial one is, in one go.
    Cost: `branch` generated steps and scores an expansion; as many expansions as an answer has steps where
    the first way is right.
    """

    cost_model: ClassVar[str] = (
        "expansions * branch generations (of one step) and scores at most; one more of both where no answer "
        "has finished"
    )

    width: int = Field(
        2, ge=1, le=64, description="How many steps from one partial answer are tried at most."
    )
    expansions: int = Field(64, ge=1, le=4096, description="How many partial answers are expanded at most.")

    def cost(self) -> Cost:
        """`branch` steps and scores for each of `expansions`, and an answer finished at the end."""
        most = self.expansions * self.branch + 1
        return Cost(generations=most, scores=most)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Search along one path at a time."""
        stack = [await run.start()]
        ended, dropped, scores = list[Candidate](), list[Candidate](), dict[int, float]()
        for _ in range(self.expansions):
            found = [c for c in ended if c.complete and scores.get(c.node, 0.0) >= self.threshold]
            if not stack or len(found) >= task.n:
                break
            origin = stack.pop()
            [grown] = await self.grow(run, [origin], self.branch)
            if not grown:
                dropped.append(origin)
                break
            scores |= await self.judge(run, grown)
            ended += [step for step in grown if step.finish != "step"]
            kept = self._best(grown, scores, self.width, run) if len(origin.steps) + 1 < self.depth else []
            nodes = {step.node for step in kept}
            dropped += [step for step in grown if step.finish == "step" and step.node not in nodes]
            stack += reversed(kept)
            run.commit_prefix([c.text for c in (*stack, *dropped, *ended)])
        return await self._answer(run, ended, [c for c in (*reversed(stack), *dropped) if c.steps], scores)
