"""The training loop: warm-up, stable, decay; Muon and AdamW; checkpoints that resume to the same weights."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mull.training.bundled.model import Llama, from_state, state


class Batch(Protocol):
    """What one optimizer step is computed from."""

    @property
    def tokens(self) -> int:
        """Tokens counted for the schedule, padding left out."""


B = TypeVar("B", bound=Batch)


class Report(Protocol):
    """Called after every pool of batches."""

    def __call__(self, tokens: int, loss: float, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """Warm-up, stable, decay (Hu et al. 2024, arXiv:2404.06395), in tokens.

    Until the decay begins the rate does not depend on `total`, so a run can be resumed with another `total`.
    """

    total: int
    decay: int
    warmup: int = 150_000
    matrix_rate: float = 1.2e-3
    other_rate: float = 1e-3

    def factor(self, tokens: int) -> float:
        """Multiplier of the learning rates after `tokens` tokens."""
        up = min(1.0, (tokens + 1) / self.warmup)
        down = min(1.0, max(0.0, (self.total - tokens) / self.decay)) if self.decay else 1.0
        return up * max(0.02, down)


def optimizers(model: Llama, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the layers' matrices, AdamW for embeddings, norms and heads."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        (matrices if p.dim() == 2 and name.startswith("layers.") else others).append(p)
    return [
        torch.optim.Muon(
            matrices, lr=schedule.matrix_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=schedule.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


BEYOND = 200_000
"""Tokens by which a run may end after its schedule, as it ends with a whole pool of batches."""


def train(
    model: Llama,
    *,
    pools: Callable[[int, int], list[B]],
    loss_of: Callable[[Llama, B], Tensor],
    schedule: Schedule,
    folder: Path,
    resume: bool,
    report: Report,
    keep_every: int = 1_000_000,
    until: int | None = None,
) -> Llama:
    """Train until `schedule.total` tokens are seen, and return the model.

    Args:
        model: Start of the weights; replaced by the checkpoint's when resuming.
        pools: Batches of pool number `n` when `t` tokens were seen; must depend on nothing else.
        loss_of: Mean loss of a batch.
        schedule: Learning rates and the end.
        folder: Checkpoints: `last.pt` after every 8 pools, `at-<tokens>.pt` every `keep_every` tokens.
        resume: Continue from `last.pt` when it is there.
        report: Told the progress.
        keep_every: Distance of the kept checkpoints, in tokens.
        until: Stop early after this many tokens, leaving a checkpoint; for tests and interrupted runs.

    Raises:
        ValueError: the checkpoint is of a run that went on well beyond the schedule's end.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    tokens = pool = 0
    seconds = 0.0
    saved: dict[str, Any] | None = None
    if resume and last.exists():
        saved = torch.load(last, weights_only=True)
        model = from_state(saved["model"])
        tokens, pool, seconds = saved["tokens"], saved["pool"], saved["seconds"]
        if tokens > schedule.total + BEYOND:
            raise ValueError(f"{last} is the end of a longer run: {tokens} tokens, not {schedule.total}")
    steppers = optimizers(model, schedule)
    if saved is not None:
        for stepper, kept in zip(steppers, saved["optimizers"], strict=True):
            stepper.load_state_dict(kept)
    rates = [float(s.defaults["lr"]) for s in steppers]
    model.train()
    while tokens < min(schedule.total, until or schedule.total):
        start, total_loss = time.monotonic(), 0.0
        batches = pools(pool, tokens)
        before = tokens
        for group in groups(batches, world):
            batch = group[rank]
            for stepper, rate in zip(steppers, rates, strict=True):
                stepper.param_groups[0]["lr"] = rate * schedule.factor(tokens)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            if world > 1:
                _average_gradients(model, world)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for stepper in steppers:
                stepper.step()
                stepper.zero_grad()
            total_loss += loss.item()
            tokens += sum(b.tokens for b in group)
        pool += 1
        seconds += time.monotonic() - start
        report(tokens, total_loss * world / len(batches), seconds)
        kept_now = tokens // keep_every != before // keep_every
        if rank > 0:
            continue
        if pool % 8 == 0 or kept_now or tokens >= min(schedule.total, until or schedule.total):
            content = {
                "model": state(model),
                "optimizers": [s.state_dict() for s in steppers],
                "tokens": tokens,
                "pool": pool,
                "seconds": seconds,
            }
            _write(content, last)
            if kept_now:
                _write(content, folder / f"at-{tokens // keep_every * keep_every}.pt")
    return model.eval()


def groups(batches: list[B], size: int) -> list[list[B]]:
    """Batches of one step, one for each worker; what does not fill a group is left out."""
    return [batches[n : n + size] for n in range(0, len(batches) - size + 1, size)]


def _average_gradients(model: Llama, world: int) -> None:
    """Mean over the workers, as one message."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient) / world)


def _write(content: dict[str, Any], path: Path) -> None:
    """Save so that a kill leaves the old file or the new one, never a half."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)
