"""ORPO that learns answers and no questions."""

from __future__ import annotations

from typing import Any

from trl.experimental.orpo import ORPOTrainer


class AnswerORPOTrainer(ORPOTrainer):  # type: ignore[misc]
    """TRL's trainer with the likelihood of the chosen answer alone (Hong et al. 2024, arXiv:2403.07691).

    TRL 1.16 takes that of the question, too: where questions are hard to foretell, little else is learned.
    """

    def concatenated_forward(self, model: Any, batch: Any) -> tuple[Any, ...]:
        """Log-probabilities a token of chosen and rejected answers, their logits, the likelihood's loss."""
        chosen, rejected, better, worse, _, *rest = super().concatenated_forward(model, batch)
        return chosen, rejected, better, worse, -chosen.mean(), *rest
