"""What the verifier learns from: solutions of the policy and corrupted ones, labelled at every token."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mull.training.bundled import sampler, tokenizer
from mull.training.bundled.checker import check_pieces
from mull.training.bundled.corruption import corrupt
from mull.training.bundled.model import Llama
from mull.training.bundled.pretrain import shuffled_pairs, to_ids
from mull.training.bundled.problems import Problem, generate_one
from mull.training.bundled.solver import solve

POOL_TOKENS = 48_000
BATCH_TOKENS = 1_500
SYNTHETIC_TOKENS = 400_000
"""Tokens at the start for which all solutions are synthetic."""
POLICY_SHARE = 0.6
"""Share of the policy's solutions after that."""
LM_WEIGHT = 1.0
STEP_WEIGHT = 2.0
"""Weight of the labels that are read when serving: ends of steps and of the solution."""
TOKEN_WEIGHT = 0.6
AFTER_ERROR_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Labelled:
    """One solution with its labels."""

    prompt: list[int]
    solution: list[int]
    good: list[bool]
    """For each token of the solution, whether it is still on a correct path."""


@dataclass(frozen=True, slots=True)
class VerifierBatch:
    """Rows padded on the right, each tensor of shape `[B, T]`."""

    ids: Tensor
    labels: Tensor
    weights: Tensor
    """Weight of each label, 0 outside the solution."""
    lm: Tensor
    """True where the token is on a correct path, so that its prediction may be learned."""
    tokens: int


def label(problem: Problem, prompt: list[int], solution: list[int]) -> Labelled:
    """Exact labels of a solution given as token ids."""
    texts = tokenizer.id_pieces()
    pieces = [texts.get(i, "") for i in solution]
    return Labelled(prompt, solution, check_pieces(problem, pieces))


def policy_solutions(
    policy: Llama, folder: Path, *, seed: int, problems: int, each: int, temperature: float
) -> list[list[list[int]]]:
    """Solutions of the policy to the first problems of stream `seed`, kept in `folder` for the next time.

    Returns:
        Token ids of `each` solutions of every problem.
    """
    path = folder / f"samples-{seed}-{problems}-{each}-{temperature}.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        prompts = [tokenizer.prompt_ids(generate_one(seed, i).question) for i in range(problems)]
        found = sampler.sample(policy, prompts, each, temperature, seed)
        torch.save([[s.ids for s in row] for row in found], path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    rows: list[list[list[int]]] = torch.load(path, weights_only=True)
    return rows


def synthetic(seed: int, index: int, rng: random.Random) -> Labelled:
    """A fresh problem with a corrupted solution, or in one case of four with a correct one."""
    problem = generate_one(seed, index)
    lines = solve(problem, rng) if rng.random() < 0.25 else corrupt(problem, rng)
    return label(problem, tokenizer.prompt_ids(problem.question), to_ids(lines))


def verifier_pool(
    seed: int, pool: int, solutions: Sequence[Sequence[list[int]]], solution_seed: int, share: float
) -> list[VerifierBatch]:
    """Batches of pool number `pool`: draws from the policy's solutions, and synthetic ones.

    Args:
        seed: Stream of the draws and of the synthetic problems.
        pool: Number of the pool; with `seed` it decides everything.
        solutions: The policy's solutions, by problem.
        solution_seed: Stream of the problems that they solve.
        share: Share of the policy's solutions.
    """
    rng = random.Random(f"verifier/{seed}/{pool}")
    rows: list[Labelled] = []
    size = 0
    while size < POOL_TOKENS:
        if rng.random() < share:
            at = rng.randrange(len(solutions))
            problem = generate_one(solution_seed, at)
            row = label(problem, tokenizer.prompt_ids(problem.question), rng.choice(solutions[at]))
        else:
            row = synthetic(seed, pool * 10_000 + len(rows), rng)
        rows.append(row)
        size += len(row.prompt) + len(row.solution)
    rows.sort(key=lambda r: len(r.prompt) + len(r.solution))
    batches: list[VerifierBatch] = []
    members: list[Labelled] = []
    for row in rows:
        if members and (len(members) + 1) * (len(row.prompt) + len(row.solution)) > BATCH_TOKENS:
            batches.append(collate(members))
            members = []
        members.append(row)
    batches.append(collate(members))
    return shuffled_pairs(rng, batches)


def collate(rows: Sequence[Labelled]) -> VerifierBatch:
    """One batch of labelled solutions."""
    length = max(len(r.prompt) + len(r.solution) for r in rows)
    shape = (len(rows), length)
    ids = torch.full(shape, tokenizer.token_id(tokenizer.PAD))
    labels = torch.zeros(shape, dtype=torch.long)
    weights, lm = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    table = tokenizer.piece_ids()
    read = torch.tensor([table[p] for p in ("\n", "}.", tokenizer.EOS)])
    for n, row in enumerate(rows):
        start, end = len(row.prompt), len(row.prompt) + len(row.solution)
        ids[n, :end] = torch.tensor(row.prompt + row.solution)
        good = torch.tensor(row.good)
        labels[n, start:end] = good.long()
        lm[n, start:end] = good
        first_error = torch.cat((torch.tensor([True]), good[:-1])) & ~good
        steps = torch.isin(ids[n, start:end], read)
        weight = torch.where(good | first_error, TOKEN_WEIGHT, AFTER_ERROR_WEIGHT)
        weights[n, start:end] = torch.where(steps, STEP_WEIGHT, weight)
    return VerifierBatch(ids, labels, weights, lm, sum(len(r.prompt) + len(r.solution) for r in rows))


def process_loss(model: Llama, batch: VerifierBatch) -> Tensor:
    """Weighted cross-entropy of the labels, plus that of the next token on correct paths; a scalar."""
    hidden = model.hidden(batch.ids)
    chosen = batch.weights > 0
    scores = model.scores(hidden[chosen]).float()
    verdict = F.cross_entropy(scores, batch.labels[chosen], reduction="none")
    weights = batch.weights[chosen]
    loss = (verdict * weights).sum() / weights.sum()
    known = batch.lm[:, 1:]
    logits = model.logits(hidden[:, :-1][known]).float()
    # A batch may hold no correct prefix at all, so the mean is not left to cross_entropy.
    language = F.cross_entropy(logits, batch.ids[:, 1:][known], reduction="sum") / known.sum().clamp(min=1)
    return loss + LM_WEIGHT * language
