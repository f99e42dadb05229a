"""Greedy answers of a model in training, by transformers in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig

ROWS = 64
"""Prompts computed at once."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """An answer."""

    text: str
    ids: list[int]
    """Its tokens, the end of sequence included where it came to its end."""
    ended: bool


@torch.no_grad()
def greedy(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Mapping[str, Any]]],
    *,
    max_tokens: int,
    bf16: bool = False,
) -> list[Greedy]:
    """The most probable answer, token by token, to each conversation, in order.

    The model is left in the mode (training or evaluation) in which it came; no random number is drawn.
    """
    rows = [
        tokenizer.apply_chat_template(list(p), add_generation_prompt=True, tokenize=True, return_dict=False)
        for p in prompts
    ]
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    ends = _ends(model, tokenizer)
    config = GenerationConfig(
        do_sample=False,
        temperature=1.0,
        max_new_tokens=max_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=min(ends) if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
    )
    found: dict[int, Greedy] = {}
    training = model.training
    model.eval()
    try:
        for start in range(0, len(order), ROWS):
            members = order[start : start + ROWS]
            made = _continue(model, [rows[m] for m in members], config, bf16)
            for member, ids in zip(members, made, strict=True):
                end = next((n for n, token in enumerate(ids) if token in ends), None)
                kept = ids if end is None else ids[: end + 1]
                found[member] = Greedy(
                    tokenizer.decode(kept, skip_special_tokens=True), kept, end is not None
                )
    finally:
        model.train(training)
    return [found[n] for n in range(len(rows))]


def _ends(model: Any, tokenizer: Any) -> set[int]:
    stated = model.generation_config.eos_token_id
    ends = {stated} if isinstance(stated, int) else set(stated or ())
    return ends | ({tokenizer.eos_token_id} - {None})


def _continue(
    model: Any, rows: Sequence[Sequence[int]], config: GenerationConfig, bf16: bool
) -> list[list[int]]:
    """What follows each row, padding and all."""
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), config.pad_token_id)
    mask = torch.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, length - len(row) :] = torch.tensor(row)
        mask[n, length - len(row) :] = 1
    device = model.device
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        made = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config
        )
    new: list[list[int]] = made[:, length:].tolist()
    return new
