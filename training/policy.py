"""Train the bundled policy: a solver whose decay starts early, so that search has something to find."""

import os
from pathlib import Path

import torch
import torch.distributed as dist

from mull.training import tokenizer
from mull.training.loop import Report, Schedule, train
from mull.training.model import Llama, Size, save
from mull.training.pretrain import head_start, lm_loss, lm_pool

VOCAB = 784
"""Entries of the tokenizer, rounded up to a multiple of 16."""
POLICY_SIZE = Size(width=192, layers=4, heads=6, feed_forward=512, vocab=VOCAB)
SOLVER_SIZE = Size(width=256, layers=4, heads=4, feed_forward=640, vocab=VOCAB)
"""The larger solver that the verifiers grow from."""
TEMPERATURE = 0.8
POLICY_TOKENS = 9_000_000
POLICY_DECAY = 2_500_000


def set_up() -> None:
    """One thread a process, since at this size more are slower; under torchrun, join the other workers."""
    torch.set_num_threads(1)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")


def train_solver(
    size: Size,
    folder: Path,
    *,
    seed: int,
    tokens: int,
    decay: int,
    resume: bool,
    report: Report,
    until: int | None = None,
) -> Llama:
    """Train a solver from scratch on fresh problems of the stream `seed`.

    A run with `decay=0` stays at the full rate, to be decayed later by what is trained from it.
    """
    set_up()
    torch.manual_seed(seed)
    model = Llama(size)
    head_start(model, seed)
    return train(
        model,
        pools=lambda pool, seen: lm_pool(seed, pool, seen),
        loss_of=lm_loss,
        schedule=Schedule(total=tokens, decay=decay),
        folder=folder,
        resume=resume,
        report=report,
        until=until,
    )


def train_policy(
    out: Path, run: Path, *, seed: int, tokens: int, decay: int, resume: bool, report: Report
) -> Llama:
    """Train the policy and write it to `out`; checkpoints go to `run`."""
    model = train_solver(
        POLICY_SIZE, run, seed=seed, tokens=tokens, decay=decay, resume=resume, report=report
    )
    save(model, out, "lm", TEMPERATURE)
    assert tokenizer.build().get_vocab_size() <= VOCAB
    return model
