"""A language model as judge: how probable it finds Yes against No as its next word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch

from mull.training.data.rows import Rollout
from mull.training.errors import TrainingError

Dialogue = Sequence[Mapping[str, Any]]


@torch.no_grad()
def probabilities(
    dialogues: Sequence[Dialogue],
    *,
    model: str,
    good: str = "Yes",
    bad: str = "No",
    batch: int = 64,
) -> list[float]:
    """P(good) / (P(good) + P(bad)) as the reply to each dialogue, which ends with a user's question.

    Compared is the first token in which the two words differ, as GenRM does (arXiv:2408.15240).

    Args:
        dialogues: What is judged.
        model: Folder or name of the judge.
        good: The word that approves.
        bad: The word that rejects.
        batch: Dialogues computed at once.

    Raises:
        TrainingError: the words do not differ in a token, or a dialogue is longer than the judge can read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    judge = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).to(device).eval()
    yes, no = (tokenizer.encode(word, add_special_tokens=False) for word in (good, bad))
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(yes, no, strict=False)))
    if shared == min(len(yes), len(no)):
        raise TrainingError(f"no token tells {good!r} from {bad!r}")
    prompts = [
        tokenizer.apply_chat_template(d, add_generation_prompt=True, tokenize=True, return_dict=False)
        + yes[:shared]
        for d in dialogues
    ]
    longest = max(map(len, prompts), default=0)
    if longest > judge.config.max_position_embeddings:
        raise TrainingError(
            f"{model} reads {judge.config.max_position_embeddings} tokens; a dialogue to judge has {longest}"
        )
    # Rows of like length share a batch, so that little is padding.
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    found = [0.0] * len(prompts)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = len(prompts[part[-1]])
        ids = torch.zeros((len(part), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, n in enumerate(part):
            ids[row, width - len(prompts[n]) :] = torch.tensor(prompts[n])
            mask[row, width - len(prompts[n]) :] = 1
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        logits = judge(**inputs, position_ids=positions, logits_to_keep=1).logits[:, -1].float()
        odds = logits[:, yes[shared]] - logits[:, no[shared]]
        for n, probability in zip(part, torch.sigmoid(odds).tolist(), strict=True):
            found[n] = probability
    return found


def score(
    rollouts: Sequence[Rollout], *, model: str, question: str, good: str, bad: str, batch: int = 64
) -> list[Rollout]:
    """The rollouts with P(good) as `score` of every sample; `model` is asked `question` after it.

    Raises:
        TrainingError: as `probabilities`.
    """
    dialogues = [
        ask([m.model_dump() for m in r.prompt], s.text, question) for r in rollouts for s in r.samples
    ]
    found = iter(probabilities(dialogues, model=model, good=good, bad=bad, batch=batch))
    return [
        r.model_copy(update={"samples": [s.model_copy(update={"score": next(found)}) for s in r.samples]})
        for r in rollouts
    ]


def ask(prompt: Dialogue, answer: str, question: str) -> list[Mapping[str, Any]]:
    """The dialogue in which a judge is asked about an answer."""
    return [*prompt, {"role": "assistant", "content": answer}, {"role": "user", "content": question}]
