"""AdaLoRA's allocation of ranks, done while a trainer runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

FILE = "allocation.pt"
"""What a checkpoint has besides PEFT's files: how much each rank mattered so far."""


class Allocation(TrainerCallback):  # type: ignore[misc]
    """Calls `update_and_allocate` after every update (arXiv:2303.10512, algorithm 1).

    PEFT trims the matrices that it saves to the ranks that are left; it cannot train on from those, nor load
    layers that have none left. So it is not told the ranks: matrices stay whole, with zeros.
    """

    def __init__(self, *, before: float, after: float) -> None:
        """Shares of the updates before ranks shrink and after they are final."""
        self.before = before
        self.after = after
        self.ranks: dict[str, list[bool]] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **kwargs: Any
    ) -> None:
        """Sets the schedule, now that the number of updates is known; continues that of a checkpoint."""
        config, allocator = _parts(model)
        config.total_step = state.max_steps
        config.tinit = int(self.before * state.max_steps)
        config.tfinal = min(int(self.after * state.max_steps), state.max_steps - config.tinit - 1)
        if state.global_step > 0:
            saved = torch.load(_file(args, state), map_location=model.device, weights_only=True)
            allocator.exp_avg_ipt, allocator.exp_avg_unc = saved["sensitivity"], saved["uncertainty"]
            allocator.ipt = {name: torch.zeros_like(value) for name, value in saved["sensitivity"].items()}
            self.ranks = saved["ranks"]

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **kwargs: Any
    ) -> None:
        """Weighs the ranks by their gradients and cuts the least important ones."""
        config, _ = _parts(model)
        config.rank_pattern = self.ranks
        model.base_model.update_and_allocate(state.global_step + 1)
        self.ranks, config.rank_pattern = config.rank_pattern, None

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **kwargs: Any
    ) -> None:
        """Adds what it knows to the checkpoint."""
        if not state.is_world_process_zero:
            return
        _, allocator = _parts(model)
        weighed = {"sensitivity": allocator.exp_avg_ipt, "uncertainty": allocator.exp_avg_unc}
        torch.save({**weighed, "ranks": self.ranks}, _file(args, state))


def _parts(model: Any) -> tuple[Any, Any]:
    return model.peft_config["default"], model.base_model.rankallocator


def _file(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
