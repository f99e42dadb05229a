"""DPO that learns single steps."""

from __future__ import annotations

from typing import Any

from trl import DPOTrainer

from mull.training.recipes.step_pairs import ends_of_steps


class StepDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's trainer on the first step in which two answers differ (Lai et al. 2024, arXiv:2406.18629).

    What they share counts for neither. What comes after is left out: most of it follows well from the wrong
    step, and would be unlearned with it.

    Args:
        delimiter: Where steps end.
        arguments: Those of `DPOTrainer`.
    """

    def __init__(self, *, delimiter: str, **arguments: Any) -> None:
        self._delimiter = delimiter
        super().__init__(**arguments)

    def _prepare_dataset(self, *arguments: Any, **named: Any) -> Any:
        return super()._prepare_dataset(*arguments, **named).map(self._cut)

    def _cut(self, row: dict[str, Any]) -> dict[str, Any]:
        chosen, rejected = row["chosen_ids"], row["rejected_ids"]
        first, second = ends_of_steps(self._tokenizer, chosen, rejected, self._delimiter)
        return row | {"chosen_ids": chosen[:first], "rejected_ids": rejected[:second]}
