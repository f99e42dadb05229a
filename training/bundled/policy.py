"""Train the bundled policy: a solver stopped early, so that search finds something, that learns to judge."""

import os
from pathlib import Path

import torch
import torch.distributed as dist

from mull.training.bundled import tokenizer
from mull.training.bundled.loop import Report, Schedule, train
from mull.training.bundled.model import Llama, Size, deepen, from_state, save, state
from mull.training.bundled.pretrain import head_start, lm_loss, lm_pool
from mull.training.bundled.turns import LABELS, turn_loss, turn_pool
from mull.training.bundled.verifier import policy_solutions

VOCAB = 784
"""Entries of the tokenizer, rounded up to a multiple of 16."""
SOLVER_SIZE = Size(width=192, layers=4, heads=6, feed_forward=512, vocab=VOCAB)
TEMPERATURE = 0.8
"""Recommended for sampling: errors are varied enough for votes to beat the greedy answer."""
POLICY_TOKENS = 10_000_000
"""Where the run is a policy: often, not always, right."""
SOLVER_TOKENS = 10_600_000
"""Where the same run, continued, becomes the trunk of the verifiers."""
EXTRA_LAYERS = 2
"""Added before the second turns are learned: one more look at the answer, and one to sum up what was seen."""
TURN_TOKENS = 5_100_000
TURN_DECAY = 2_400_000
ANSWER_SEED = 500_001
"""Stream of the problems whose answers by the policy are judged."""
ANSWERED_PROBLEMS = 3_600
ANSWERS_EACH = 3


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


def own_answers(policy: Llama, run: Path, problems: int = ANSWERED_PROBLEMS) -> list[list[str]]:
    """Finished answers to the first problems of stream `ANSWER_SEED`, sampled once and kept in `run`."""
    served = from_state(state(policy)).bfloat16()
    samples = policy_solutions(
        served, run, seed=ANSWER_SEED, problems=problems, each=ANSWERS_EACH, temperature=TEMPERATURE
    )
    end = tokenizer.token_id(tokenizer.EOS)
    return [[tokenizer.decode(ids) for ids in row if ids[-1] == end] for row in samples]


def teach_turns(
    before: Llama,
    run: Path,
    *,
    seed: int,
    tokens: int,
    decay: int,
    resume: bool,
    report: Report,
    problems: int = ANSWERED_PROBLEMS,
) -> Llama:
    """Teach the policy `before` to judge, to criticise and to revise answers; it solves as it did.

    The model returned has a score head beside its language model, used in training only.
    """
    set_up()
    answers = own_answers(before, run, problems)
    before = before.eval().requires_grad_(False)
    torch.manual_seed(seed)
    return train(
        deepen(before, EXTRA_LAYERS, labels=LABELS),
        pools=lambda pool, seen: turn_pool(seed, pool, answers, ANSWER_SEED),
        loss_of=lambda model, batch: turn_loss(model, batch, before),
        schedule=Schedule(total=tokens, decay=decay, matrix_rate=1.2e-3, other_rate=8e-4),
        folder=run,
        resume=resume,
        report=report,
    )


def train_policy(
    out: Path, run: Path, *, seed: int, tokens: int, turn_tokens: int, resume: bool, report: Report
) -> Llama:
    """Train a solver, then teach it second turns, and write it to `out`; checkpoints go to `run`.

    The first phase ends at the full learning rate, so that `mull train solver` can go on from it. The second
    one has its checkpoints in `run/turns`.
    """
    solver = train_solver(run, seed=seed, tokens=tokens, resume=resume, report=report)
    model = teach_turns(
        solver,
        run / "turns",
        seed=seed + 4,
        tokens=turn_tokens,
        decay=int(turn_tokens * TURN_DECAY / TURN_TOKENS),
        resume=resume,
        report=lambda seen, loss, seconds: report(tokens + seen, loss, seconds),
    )
    if is_first_worker():
        save(model, out, "lm", TEMPERATURE)
    return model
