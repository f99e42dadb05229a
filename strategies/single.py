"""One answer, as the model gives it: the baseline of everything else."""

from __future__ import annotations

from mull.run import Run
from mull.strategies.base import StrategyModel
from mull.strategies.ranking import by_score, read
from mull.types import Answer, Task


class Single(StrategyModel):
    """The model's own answer, streamed as it is generated; `n` independent ones when the request asks."""

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample once (or the request's `n` times), greedily at temperature 0."""
        root = await run.start()
        if task.n > 1:
            candidates = await run.collect(root, n=task.n)
        else:
            candidate = await run.follow(root)
            candidates = [] if candidate is None else [candidate]
        return by_score(await read(run, candidates))
