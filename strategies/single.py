"""One answer, as the model gives it: the baseline of everything else."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.ranking import by_score, read
from mull.types import Answer, Task


class Single(StrategyModel):
    """The model's own answer, streamed as it is generated; `n` independent ones when the request asks.

    `greedy` is for presets and for strategies that hold another one: they have no temperature of their own.
    """

    cost_model: ClassVar[str] = "1 generation, or as many as the request's n"

    greedy: bool = Field(
        False, description="Take the most likely token each time, whatever temperature the request has."
    )

    def cost(self) -> Cost:
        """One generation."""
        return Cost(generations=1)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample once (or the request's `n` times), greedily at temperature 0."""
        root = await run.start()
        sampling = replace(task.sampling, temperature=0.0) if self.greedy else None
        kind = "greedy" if self.greedy else "sample"
        if task.n > 1:
            candidates = await run.collect(root, n=task.n, sampling=sampling, kind=kind)
        else:
            candidate = await run.follow(root, sampling=sampling, kind=kind)
            candidates = [] if candidate is None else [candidate]
        return by_score(await read(run, candidates))
