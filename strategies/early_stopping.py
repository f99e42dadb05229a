"""Self-consistency in windows, ended by the first window that is of one mind.

Li et al. 2024, Escape Sky-high Cost: Early-stopping Self-Consistency for Multi-step Reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.stopping import vote_until
from mull.types import Answer, Task


class EarlyStopping(StrategyModel):
    """Samples windows of `window` answers and stops when all answers of a window are equal; then all vote.

    A sample without a readable answer agrees with nothing: its window does not stop the sampling.
    Cost: at most `n` generations, `window` at least.
    """

    source: ClassVar[str] = (
        "Li et al. 2024, Escape Sky-high Cost: Early-stopping Self-Consistency for Multi-step Reasoning, "
        "https://arxiv.org/abs/2401.10480"
    )
    cost_model: ClassVar[str] = "n generations at most, window at least; window where all samples agree"

    n: int = Field(40, ge=1, le=1024, description="How many answers to sample at most.")
    window: int = Field(5, ge=2, le=256, description="How many answers have to agree.")

    def cost(self) -> Cost:
        """`n` generations."""
        return Cost(generations=self.n)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, read, compare, window by window."""
        return await vote_until(run, self._agreed, n=self.n, batch=self.window)

    def _agreed(self, groups: Sequence[int | None]) -> bool:
        last = set(groups[-self.window :])
        return len(last) == 1 and None not in last
