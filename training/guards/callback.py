"""What guards have in common: they measure, log, stop, and bring back weights from before it went wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mull.training.errors import TrainingError
from mull.training.guards.decide import Measurement

Log = Callable[[dict[str, float]], None]

logger = logging.getLogger(__name__)


class Guard(TrainerCallback):  # type: ignore[misc]
    """Measures before the first update and every so many updates.

    What was measured is written with each checkpoint, and read again when training goes on from one. At the
    end `folder` has `<name>.json`, `<name>.png` and the weights to go back to.
    """

    name: str

    def __init__(self, every: int, tokenizer: Any, folder: Path, log: Log) -> None:
        self.every = every
        self.tokenizer = tokenizer
        self.folder = folder
        self.log = log
        self.series: list[Measurement] = []
        self.reason: str | None = None

    def measure(self, model: Any, bf16: bool) -> dict[str, list[float]]:
        """Rewards of each problem by name."""
        raise NotImplementedError

    def safe(self) -> int:
        """Index of the measurement whose weights are to be kept."""
        raise NotImplementedError

    def verdict(self) -> str | None:
        """Why training has to stop; None while it may go on."""
        raise NotImplementedError

    def draw(self, path: Path) -> None:
        """Plot the series."""
        raise NotImplementedError

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **_: Any
    ) -> None:
        """Read what was measured before a kill, or measure for the first time."""
        if any(hasattr(p, "device_mesh") or hasattr(p, "ds_id") for p in model.parameters()):
            raise TrainingError(
                "guards need the whole model in each process; it is sharded here", param="guards"
            )
        if state.global_step and self._file.exists():
            found = [Measurement(**m) for m in json.loads(self._file.read_text())["series"]]
            self.series = [m for m in found if m.step <= state.global_step]
        if not self.series:
            self._observe(args, state, model)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **_: Any
    ) -> None:
        """Measure when it is time."""
        if state.global_step % self.every == 0:
            self._observe(args, state, model)
            self.reason = self.verdict()
        if self.reason is not None:
            logger.warning("%s guard after %d updates: %s", self.name, state.global_step, self.reason)
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write what was measured; weights that a resumed training would not want are let go of."""
        if state.is_world_process_zero:
            self._write()
            kept = self._weights(self.series[self.safe()].step)
            for other in self.folder.glob(f"{self.name}-*.safetensors"):
                if other != kept:
                    other.unlink()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **_: Any
    ) -> None:
        """After a stop, put the kept weights into the model."""
        if state.is_world_process_zero:
            self._write()
            self.draw(self._file.with_suffix(".png"))
        if self.reason is not None:
            kept = load_file(self._weights(self.series[self.safe()].step))
            with torch.no_grad():
                for name, parameter in _trained(model):
                    parameter.copy_(kept[name])

    def _observe(self, args: TrainingArguments, state: TrainerState, model: Any) -> None:
        self.series.append(Measurement(state.global_step, self.measure(model, args.bf16)))
        last = self.series[-1]
        self.log({f"{self.name}/{name}": last.mean(name) for name in last.values})
        if self.safe() == len(self.series) - 1 and state.is_world_process_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self._weights(last.step)
            part = path.with_suffix(".part")
            save_file({name: p.detach().cpu().contiguous() for name, p in _trained(model)}, part)
            part.replace(path)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "stopped": self.reason,
            "kept": self.series[self.safe()].step,
            "series": [{"step": m.step, "values": m.values} for m in self.series],
        }
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(content))
        part.replace(self._file)

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.name}.json"

    def _weights(self, step: int) -> Path:
        return self.folder / f"{self.name}-{step}.safetensors"


def _trained(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """The weights that training changes, each once."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]
