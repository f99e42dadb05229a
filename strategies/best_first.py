"""Best-first search over reasoning steps.

Koh et al. 2024, Tree Search for Language Model Agents, with a process verifier as the value; the search
itself is that of Pearl 1984, Heuristics.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost
from mull.strategies.steps import Final, StepSearch, conclude, ranked
from mull.types import Answer, Candidate, Task


class BestFirst(StepSearch):
    """Always goes on with the `batch` best partial answers, wherever in the tree they are.

    Each of them gets `branch` next steps in one call, equal ones merged. Of equal scores the longer answer
    comes first, then the earlier one. With `min` and `product`, whose scores only fall as an answer grows,
    the search ends when no partial answer can overtake the finished ones; else when it has expanded
    `expansions` of them. If none has finished by then, the best partial one is, in one go.
    Cost: `branch` generated steps and scores an expansion.
    """

    source: ClassVar[str] = (
        "Koh et al. 2024, Tree Search for Language Model Agents, https://arxiv.org/abs/2407.01476"
    )
    cost_model: ClassVar[str] = (
        "expansions * branch generations (of one step) and scores at most; one more of both where no answer "
        "has finished"
    )

    expansions: int = Field(64, ge=1, le=4096, description="How many partial answers are expanded at most.")
    branch: int = Field(4, ge=1, le=64, description="How many next steps to sample from each.")
    batch: int = Field(4, ge=1, le=64, description="How many partial answers are expanded at once.")
    final: Final = Field("score", description="How to choose among finished answers: score or weighted vote.")

    def cost(self) -> Cost:
        """`branch` steps and scores for each of `expansions`, and an answer finished at the end."""
        most = self.expansions * self.branch + 1
        return Cost(generations=most, scores=most)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Expand what is best until nothing can become better."""
        frontier, dead = [await run.start()], list[Candidate]()
        ended, scores = list[Candidate](), dict[int, float]()
        left = self.expansions
        while frontier and left and not self.settled(frontier, ended, scores, task.n):
            frontier = ranked(frontier, scores)
            count = min(self.batch, left, len(frontier))
            left -= count
            families = await self.grow(run, frontier[:count], self.branch)
            grown = [step for family in families for step in family]
            if not grown:
                break
            scores |= await self.judge(run, grown)
            # What the budget did not allow to be expanded stays.
            kept = [c for c, family in zip(frontier[:count], families, strict=True) if not family]
            frontier = [*kept, *frontier[count:]]
            ended += [c for c in grown if c.finish != "step"]
            frontier += [c for c in grown if c.finish == "step" and len(c.steps) < self.depth]
            dead += [c for c in grown if c.finish == "step" and len(c.steps) >= self.depth]
            run.commit_prefix([c.text for c in (*frontier, *dead, *ended)])
        partial = [c for c in ranked([*frontier, *dead], scores) if c.steps]
        if not any(c.complete for c in ended):
            ended += (finished := await self.finish(run, partial, scores))
            scores |= await self.judge(run, finished)
        ended = ended if any(c.complete for c in ended) else [*ended, *partial]
        return await conclude(run, ended, scores, self.final)
