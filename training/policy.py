"""Train the bundled policy: a solver whose decay starts early, so that search has something to find."""

import os
from pathlib import Path

import torch
import torch.distributed as dist

from mull.training.loop import Report, Schedule, train
from mull.training.model import Llama, Size, save
from mull.training.pretrain import head_start, lm_loss, lm_pool

VOCAB = 784
"""Entries of the tokenizer, rounded up to a multiple of 16."""
SOLVER_SIZE = Size(width=192, layers=4, heads=6, feed_forward=512, vocab=VOCAB)
TEMPERATURE = 1.0
"""Recommended for sampling: errors are more varied than at lower ones, so that votes gain more."""
POLICY_TOKENS = 9_000_000
"""Where the run is a policy: often, not always, right."""
SOLVER_TOKENS = 10_600_000
"""Where the same run, continued, becomes the trunk of the verifiers."""


def set_up() -> None:
    """One thread a process, since at this size more are slower; under torchrun, join the other workers."""
    torch.set_num_threads(1)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")


def is_first_worker() -> bool:
    """Whether this process writes the files."""
    return not dist.is_initialized() or dist.get_rank() == 0


def train_solver(run: Path, *, seed: int, tokens: int, resume: bool, report: Report, decay: int = 0) -> Llama:
    """Train a solver on fresh problems of the stream `seed`, or go on from the last checkpoint in `run`.

    Without `decay` the learning rate stays, so that the run can be continued with more `tokens`.
    """
    set_up()
    torch.manual_seed(seed)
    model = Llama(SOLVER_SIZE)
    head_start(model, seed)
    return train(
        model,
        pools=lambda pool, seen: lm_pool(seed, pool, seen),
        loss_of=lm_loss,
        schedule=Schedule(total=tokens, decay=decay),
        folder=run,
        resume=resume,
        report=report,
    )


def train_policy(
    out: Path, run: Path, *, seed: int, tokens: int, decay: int, resume: bool, report: Report
) -> Llama:
    """Train the policy and write it to `out`; checkpoints go to `run`."""
    model = train_solver(run, seed=seed, tokens=tokens, decay=decay, resume=resume, report=report)
    if is_first_worker():
        save(model, out, "lm", TEMPERATURE)
    return model
