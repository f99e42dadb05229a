"""The guard against reward hacking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mull.training.data.rows import Problem
from mull.training.guards import plot
from mull.training.guards.callback import Guard, Log
from mull.training.guards.config import Hacking
from mull.training.guards.decide import PROXY, TRUE, best, parted
from mull.training.guards.greedy import Greedy
from mull.training.guards.solve import answered, right, solve

Proxy = Callable[[Sequence[Problem], Sequence[Greedy]], list[float]]
"""The reward that is optimised, of one answer to each problem."""


class RewardHackingGuard(Guard):
    """Stops when proxy and true reward part (`decide.parted`); keeps the weights of the highest true reward.

    Args:
        settings: How often, how far.
        problems: Held-out problems with answers.
        proxy: The reward that is optimised.
        tokenizer: The policy's.
        folder: Where figures and weights go.
        log: What logs figures.
    """

    name = "hacking"

    def __init__(
        self,
        settings: Hacking,
        problems: Sequence[Problem],
        proxy: Proxy,
        *,
        tokenizer: Any,
        folder: Path,
        log: Log,
    ) -> None:
        super().__init__(settings.every, tokenizer, folder, log)
        self._settings = settings
        self._problems = answered(problems, "guards.hacking.problems")
        self._proxy = proxy

    def measure(self, model: Any, bf16: bool) -> dict[str, list[float]]:
        """True and proxy reward of the same greedy answers."""
        answers = solve(model, self.tokenizer, self._problems, self._settings.max_tokens, bf16)
        return {TRUE: right(self._problems, answers), PROXY: self._proxy(self._problems, answers)}

    def safe(self) -> int:
        """The highest true reward."""
        return best(self.series)

    def verdict(self) -> str | None:
        s = self._settings
        if not parted(self.series, window=s.window, margin=s.margin, noise=s.noise):
            return None
        peak, last = self.series[best(self.series)], self.series[-1]
        return (
            f"reward hacking: from update {peak.step} on, the reward rose from {peak.mean(PROXY):.3f} "
            f"to {last.mean(PROXY):.3f}, accuracy fell from {peak.mean(TRUE):.3f} to {last.mean(TRUE):.3f}"
        )

    def draw(self, path: Path) -> None:
        """Both rewards over updates."""
        plot.rewards(self.series, best(self.series), path)
