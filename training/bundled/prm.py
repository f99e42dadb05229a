"""Train the process reward model: a strong solver, two new layers, and a label at every token."""

from pathlib import Path

import torch

from mull.training.bundled.loop import Report, Schedule, train
from mull.training.bundled.model import Llama, deepen, from_state, load, save
from mull.training.bundled.policy import is_first_worker, set_up
from mull.training.bundled.verifier import (
    POLICY_SHARE,
    SYNTHETIC_TOKENS,
    policy_solutions,
    process_loss,
    verifier_pool,
)

EXTRA_LAYERS = 2
SAMPLE_SEED = 500_001
"""Stream of the problems whose solutions by the policy are learned from."""
SAMPLED_PROBLEMS = 3_600
SAMPLES_EACH = 3
SAMPLE_TEMPERATURE = 0.8
TOKENS = 8_400_000
DECAY = 3_300_000


def solutions_of(policy: Path, run: Path, problems: int = SAMPLED_PROBLEMS) -> list[list[list[int]]]:
    """The policy's solutions to the training problems, sampled once and kept in `run`."""
    return policy_solutions(
        load(policy).bfloat16(),
        run,
        seed=SAMPLE_SEED,
        problems=problems,
        each=SAMPLES_EACH,
        temperature=SAMPLE_TEMPERATURE,
    )


def solver_of(checkpoint: Path) -> Llama:
    """The solver in a checkpoint of its training."""
    return from_state(torch.load(checkpoint, weights_only=True)["model"])


def train_prm(
    out: Path,
    run: Path,
    *,
    policy: Path,
    solver: Path,
    seed: int,
    tokens: int,
    decay: int,
    resume: bool,
    report: Report,
    problems: int = SAMPLED_PROBLEMS,
) -> Llama:
    """Grow the solver in checkpoint `solver` into a PRM for the policy in folder `policy`, in `out`."""
    set_up()
    solutions = solutions_of(policy, run, problems)
    torch.manual_seed(seed)
    model = train(
        deepen(solver_of(solver), EXTRA_LAYERS, labels=2),
        pools=lambda pool, seen: verifier_pool(
            seed, pool, solutions, SAMPLE_SEED, share=POLICY_SHARE if seen >= SYNTHETIC_TOKENS else 0.0
        ),
        loss_of=process_loss,
        schedule=Schedule(total=tokens, decay=decay, matrix_rate=1.2e-3, other_rate=8e-4),
        folder=run,
        resume=resume,
        report=report,
    )
    if is_first_worker():
        save(model, out, "token")
    return model
