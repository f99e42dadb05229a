"""The guard against forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mull.training.data.rows import Problem
from mull.training.guards import plot
from mull.training.guards.callback import Guard, Log
from mull.training.guards.config import Forgetting
from mull.training.guards.decide import forgotten
from mull.training.guards.solve import answered, right, solve


class ForgettingGuard(Guard):
    """Stops when an earlier task is forgotten (`decide.forgotten`); keeps the last weights for which none is.

    Args:
        settings: How often, how far.
        tasks: Problems with answers by name of the task.
        tokenizer: The policy's.
        folder: Where figures and weights go.
        log: What logs figures.
    """

    name = "forgetting"

    def __init__(
        self,
        settings: Forgetting,
        tasks: Mapping[str, Sequence[Problem]],
        *,
        tokenizer: Any,
        folder: Path,
        log: Log,
    ) -> None:
        super().__init__(settings.every, tokenizer, folder, log)
        self._settings = settings
        self._tasks = {n: answered(p, f"guards.forgetting.tasks.{n}") for n, p in tasks.items()}

    def measure(self, model: Any, bf16: bool) -> dict[str, list[float]]:
        """Whether each problem of each task is solved."""
        return {
            name: right(problems, solve(model, self.tokenizer, problems, self._settings.max_tokens, bf16))
            for name, problems in self._tasks.items()
        }

    def safe(self) -> int:
        """The last measurement that forgot nothing."""
        kept = [n for n in range(len(self.series)) if not self._forgotten(n)]
        return kept[-1]

    def verdict(self) -> str | None:
        last = len(self.series) - 1
        drops = [
            f"{name} fell from {self.series[0].mean(name):.3f} to {self.series[last].mean(name):.3f}"
            for name in self._forgotten(last)
        ]
        return f"forgetting: {', '.join(drops)}" if drops else None

    def _forgotten(self, n: int) -> list[str]:
        return forgotten(self.series[: n + 1], max_drop=self._settings.max_drop)

    def draw(self, path: Path) -> None:
        """Accuracies over updates."""
        plot.accuracies(self.series, self._settings.max_drop, path)
