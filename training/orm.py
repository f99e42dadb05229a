"""Train the outcome reward model: the process reward model, turned to one label at the end."""

from pathlib import Path

import torch

from mull.training.loop import Report, Schedule, train
from mull.training.model import Llama, load, save
from mull.training.policy import is_first_worker, set_up
from mull.training.prm import SAMPLE_SEED, SAMPLED_PROBLEMS, solutions_of
from mull.training.verifier import outcome_loss, verifier_pool

TOKENS = 500_000


def from_prm(prm: Llama) -> Llama:
    """The same network with one score, the difference of the two labels' scores."""
    if prm.score is None:
        raise ValueError("the process reward model has no score head")
    model = Llama(prm.size, labels=1)
    weights = dict(prm.state_dict())
    bad, good = weights["score.weight"]
    model.load_state_dict(weights | {"score.weight": (good - bad)[None]})
    return model


def train_orm(
    out: Path,
    run: Path,
    *,
    policy: Path,
    prm: Path,
    seed: int,
    tokens: int,
    resume: bool,
    report: Report,
    problems: int = SAMPLED_PROBLEMS,
) -> Llama:
    """Tune the PRM in folder `prm` to the outcome of the policy's solutions, and write it to `out`."""
    set_up()
    solutions = solutions_of(policy, run, problems)
    torch.manual_seed(seed)
    model = train(
        from_prm(load(prm)),
        pools=lambda pool, _: verifier_pool(seed, pool, solutions, SAMPLE_SEED, share=1.0),
        loss_of=outcome_loss,
        schedule=Schedule(total=tokens, decay=tokens, matrix_rate=5e-4, other_rate=2e-4),
        folder=run,
        resume=resume,
        report=report,
    )
    if is_first_worker():
        save(model, out, "sequence")
    return model
