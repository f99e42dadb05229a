"""Training data and loss of the solver: fresh problems with random solutions, and drills in arithmetic."""

import random
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mull.training.bundled import tokenizer
from mull.training.bundled.checker import END
from mull.training.bundled.model import Llama
from mull.training.bundled.problems import MAX_STEPS, generate_one
from mull.training.bundled.solver import Line, solve

POOL_TOKENS = 48_000
BATCH_TOKENS = 1_500
"""Tokens of a batch of one worker; small ones give more updates, which looking up needs to be learned."""
FIRST_STEPS = 4
CURRICULUM_TOKENS = 3_000_000
"""Tokens over which the longest problems grow from 4 steps to 10."""
DRILL_TOKENS = 4_000_000
"""Tokens over which the share of drills falls from a quarter to a twentieth."""


class Sized(Protocol):
    """A row of token ids."""

    @property
    def ids(self) -> list[int]:
        """All of them."""


B = TypeVar("B")
R = TypeVar("R", bound=Sized)


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids and, for each, the weight of its prediction."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class LmBatch:
    """Rows padded to one length: `ids` and `weights`, each of shape `[B, T]`."""

    ids: Tensor
    weights: Tensor
    tokens: int


def to_ids(lines: list[Line]) -> list[int]:
    """Ids of a complete solution, its end included."""
    table = tokenizer.piece_ids()
    return [table[piece] for line in lines for piece in line] + [table[END]]


def solution_example(seed: int, index: int, max_steps: int, rng: random.Random) -> Example:
    """A problem and one solution; sometimes after a system prompt, or after a first turn."""
    ids = [tokenizer.token_id(tokenizer.BOS)]
    if rng.random() < 0.03:
        ids += tokenizer.encode(rng.choice(tokenizer.SYSTEM_PROMPTS) + "\n")
    weights = [0.0] * len(ids)
    for turn in range(2 if rng.random() < 0.03 else 1):
        problem = generate_one(seed, 2 * index + turn, 1, max_steps)
        question = tokenizer.prompt_ids(problem.question)[1:]
        answer = to_ids(solve(problem, rng))
        ids += question + answer
        weights += [0.0] * len(question) + [1.0] * len(answer)
    return Example(ids, weights)


def drill_example(rng: random.Random) -> Example:
    """Lines of unrelated computations, of which only the results are learned."""
    pieces: list[str] = []
    weights = [0.0]
    for _ in range(8):
        problem = generate_one(rng.getrandbits(40), 0, 1, 1)
        line = solve(problem, rng)[0]
        pieces += line
        weights += [0.0] * (len(line) - 2) + [1.0, 0.0]
    table = tokenizer.piece_ids()
    return Example([tokenizer.token_id(tokenizer.BOS), *(table[p] for p in pieces)], weights)


def lm_pool(seed: int, pool: int, tokens: int) -> list[LmBatch]:
    """Batches of pool number `pool` of the stream `seed`, made for the point `tokens` of the curriculum."""
    rng = random.Random(f"pretrain/{seed}/{pool}")
    max_steps = FIRST_STEPS + round((MAX_STEPS - FIRST_STEPS) * min(1.0, tokens / CURRICULUM_TOKENS))
    drills = 0.25 - 0.2 * min(1.0, tokens / DRILL_TOKENS)
    examples: list[Example] = []
    size = 0
    while size < POOL_TOKENS:
        if rng.random() < drills:
            example = drill_example(rng)
        else:
            example = solution_example(seed, pool * 10_000 + len(examples), max_steps, rng)
        examples.append(example)
        size += len(example.ids)
    examples.sort(key=lambda e: len(e.ids))
    batches = [collate(rows) for rows in split(examples, BATCH_TOKENS)]
    return shuffled_pairs(rng, batches)


def shuffled_pairs(rng: random.Random, batches: list[B]) -> list[B]:
    """Batches in random order, but each beside one of its length, so that two workers take equally long."""
    pairs = [batches[n : n + 2] for n in range(0, len(batches), 2)]
    rng.shuffle(pairs)
    return [batch for pair in pairs for batch in pair]


def split(examples: list[R], limit: int) -> list[list[R]]:
    """Neighbours in length grouped into batches of at most `limit` tokens."""
    groups: list[list[R]] = [[]]
    size = 0
    for example in examples:
        if size + len(example.ids) > limit and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append(example)
        size += len(example.ids)
    return groups


def collate(rows: list[Example]) -> LmBatch:
    """Pad on the right; with causal attention the padding needs no mask."""
    length = max(len(r.ids) for r in rows)
    pad = tokenizer.token_id(tokenizer.PAD)
    ids = torch.tensor([r.ids + [pad] * (length - len(r.ids)) for r in rows])
    weights = torch.tensor([r.weights + [0.0] * (length - len(r.weights)) for r in rows])
    return LmBatch(ids, weights, sum(len(r.ids) for r in rows))


def head_start(model: Llama, seed: int) -> None:
    """Start the embeddings of related tokens near each other.

    A word with and without a leading space begin as neighbours, and so do numbers that are alike modulo small
    periods, which is how trained networks come to represent them (Nanda et al. 2023, arXiv:2301.05217).
    """
    random = torch.Generator().manual_seed(seed)
    weight = model.embed_tokens.weight.data
    width = weight.shape[1]
    number = torch.arange(tokenizer.MAX_NUMBER + 1)[:, None]
    angle = 2 * torch.pi * number / torch.tensor([2, 3, 4, 5, 10, 20, 50, 100, 200])
    features = torch.cat((angle.cos(), angle.sin(), number / 50 - 1), 1)
    project = torch.randn(features.shape[1], width, generator=random)
    values = features @ project
    values *= 0.02 / values.std()
    table = tokenizer.piece_ids()
    for text, spaced in table.items():
        if text.startswith(" ") and text[1:] in table:
            if text[1:].isdigit():
                weight[spaced] = values[int(text)] + 0.5 * weight[spaced]
            weight[table[text[1:]]] = weight[spaced] + 0.5 * weight[table[text[1:]]]


def lm_loss(model: Llama, batch: LmBatch) -> Tensor:
    """Mean cross-entropy of the weighted tokens, a scalar."""
    hidden = model.hidden(batch.ids)
    chosen = batch.weights[:, 1:] > 0
    logits = model.logits(hidden[:, :-1][chosen])
    return F.cross_entropy(logits.float(), batch.ids[:, 1:][chosen])
