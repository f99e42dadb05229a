"""Batched sampling and scoring on one machine, for training data and figures; serving is vLLM's work."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mull.training.bundled import tokenizer
from mull.training.bundled.model import Cache, Llama

ROWS = 128
ROOM = 150
"""New tokens at most; the longest correct solutions have about 130."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One continuation."""

    ids: list[int]
    """New tokens, the stop token included."""
    logprobs: list[float]
    """Log-probability of each at temperature 1."""


def _padded(rows: Sequence[Sequence[int]], left: bool) -> tuple[Tensor, Tensor]:
    """Ids, and True where a token is real; both `[B, T]`."""
    length = max(len(r) for r in rows)
    pad = tokenizer.token_id(tokenizer.PAD)
    ids = torch.full((len(rows), length), pad)
    real = torch.zeros((len(rows), length), dtype=torch.bool)
    for n, row in enumerate(rows):
        part = slice(length - len(row), length) if left else slice(0, len(row))
        ids[n, part] = torch.tensor(row)
        real[n, part] = True
    return ids, real


@torch.inference_mode()
def sample(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    n: int,
    temperature: float,
    seed: int,
    stop: Sequence[int] = (),
) -> list[list[Sample]]:
    """`n` continuations of each prompt, until a stop token or the end of sequence; temperature 0 is greedy.

    The model is used in the number format its weights have: bfloat16 is the fastest here, and as served.
    """
    random = torch.Generator().manual_seed(seed)
    stops = torch.tensor([tokenizer.token_id(tokenizer.EOS), *stop])
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: list[list[Sample]] = [[] for _ in prompts]
    chunk = max(1, ROWS // n)
    for at in range(0, len(order), chunk):
        members = order[at : at + chunk]
        made = _sample_chunk(model, [prompts[i] for i in members], n, temperature, random, stops)
        for i, samples in zip(members, made, strict=True):
            found[i] = samples
    return found


def _sample_chunk(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    n: int,
    temperature: float,
    random: torch.Generator,
    stops: Tensor,
) -> list[list[Sample]]:
    ids, real = _padded(prompts, left=True)
    length = ids.shape[1]
    positions = (real.cumsum(1) - 1).clamp(min=0)
    cache = Cache(model, len(prompts), length + ROOM)
    # A padding position attends to itself, so that its softmax is not empty.
    mask = (torch.ones(length, length, dtype=torch.bool).tril() & real[:, None]) | torch.eye(
        length, dtype=torch.bool
    )
    state = model.hidden(ids, positions, mask[:, None], cache)[:, -1]
    rows = torch.arange(len(prompts)).repeat_interleave(n)
    cache.pick(rows)
    state, real, position = state[rows], real[rows], positions[rows, -1]
    alive = torch.arange(len(rows))
    going = torch.ones(len(rows), dtype=torch.bool)
    new: list[list[int]] = [[] for _ in rows]
    logprobs: list[list[float]] = [[] for _ in rows]
    for _ in range(ROOM):
        logp = model.logits(state).float().log_softmax(-1)
        if temperature == 0:
            token = logp.argmax(-1)
        else:
            token = torch.multinomial((logp / temperature).softmax(-1), 1, generator=random)[:, 0]
        chosen = logp.gather(1, token[:, None])[:, 0].tolist()
        for row, t, p, on in zip(alive.tolist(), token.tolist(), chosen, going.tolist(), strict=True):
            if on:
                new[row].append(t)
                logprobs[row].append(p)
        going &= ~torch.isin(token, stops)
        # Dropping finished rows copies the cache, so it waits until it pays.
        if going.float().mean() < 0.75:
            keep = going.nonzero()[:, 0]
            if len(keep) == 0:
                break
            cache.pick(keep)
            alive, token, real, position, going = (
                alive[keep],
                token[keep],
                real[keep],
                position[keep],
                going[keep],
            )
        position = position + 1
        real = torch.cat((real, torch.ones(len(alive), 1, dtype=torch.bool)), 1)
        if real.shape[1] > length + ROOM - 1:
            break
        state = model.hidden(token[:, None], position[:, None], real[:, None, None], cache)[:, -1]
    flat = [Sample(i, p) for i, p in zip(new, logprobs, strict=True)]
    return [flat[i * n : (i + 1) * n] for i in range(len(prompts))]


@torch.inference_mode()
def hidden_states(model: Llama, rows: Sequence[Sequence[int]], head: str) -> list[Tensor]:
    """Outputs of a head at every token of each row.

    Args:
        model: The scorer.
        rows: Token ids of prompt and solution.
        head: `score` for the score head, shape `[T, labels]` a row; `lm` for the log-probability of each
            token given those before it, shape `[T]`, 0 for the first.
    """
    out: list[Tensor] = [torch.empty(0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for at in range(0, len(order), 128):
        members = order[at : at + 128]
        ids, _ = _padded([rows[i] for i in members], left=False)
        states = model.hidden(ids)
        if head == "score":
            values = model.scores(states).float()
        else:
            logp = model.logits(states[:, :-1]).float().log_softmax(-1)
            values = torch.nn.functional.pad(logp.gather(2, ids[:, 1:, None])[:, :, 0], (1, 0))
        for n, i in enumerate(members):
            out[i] = values[n, : len(rows[i])].clone()
    return out
