"""GRPO that learns less from what is right than from what is wrong."""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer


class WeightedGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer with the advantages above zero multiplied by a weight (arXiv:2506.01347).

    Args:
        positive_weight: That weight; 1 changes nothing.
        arguments: Those of `GRPOTrainer`.
    """

    def __init__(self, *, positive_weight: float, **arguments: Any) -> None:
        self._positive_weight = positive_weight
        super().__init__(**arguments)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        scored = super()._generate_and_score_completions(inputs)
        advantages = scored["advantages"]
        scored["advantages"] = torch.where(advantages > 0, advantages * self._positive_weight, advantages)
        return scored
