"""Demonstrations from samples: rejection sampling, rationalisation, and a teacher's answers.

Rejection-sampling fine-tuning (RFT) follows Yuan et al. 2023 (arXiv:2308.01825): the distinct right samples
of a problem. More of hard problems than of easy ones is the idea of DART-Math (Tong et al. 2024,
arXiv:2407.13690). A second round with the answer as a hint is STaR's rationalisation (Zelikman et al. 2022,
arXiv:2203.14465). Distillation by samples is the same with rollouts of another model or one that searches.
"""

import math
import re
from collections.abc import Iterable, Sequence

from mull.training.data.kinds import Order
from mull.training.data.rows import Message, Problem, Rollout, Sample, Sft, assistant
from mull.training.data.samples import (
    distinct,
    judged,
    likelihood,
    merged,
    random_of,
    rate,
    source,
)
from mull.training.errors import TrainingError

HINT = "{question} (The answer is {answer}.)"
"""How a question is asked whose answer is given away."""


def select(
    rollouts: Iterable[Rollout],
    *,
    each: int = 4,
    order: Order = "random",
    hard_first: bool = False,
    right: bool = True,
    limit: int | None = None,
    seed: int = 0,
) -> list[Sft]:
    """Demonstrations: distinct, finished samples, the right ones of them.

    Args:
        rollouts: samples; those of one problem may be spread over rows.
        each: most samples of a problem.
        order: which of a problem's samples are taken.
        hard_first: begin with problems that are seldom solved, and take of each only `each` times its share
            of wrong samples, rounded up.
        right: take right samples only; otherwise all, whatever is known of them.
        limit: most rows altogether.
        seed: of random orders.

    Raises:
        TrainingError: it is not known of any sample whether it is right, or the order needs log-probabilities
            that samples lack.
    """
    found = judged(rollouts) if right or hard_first else merged(rollouts)
    if hard_first:
        found.sort(key=lambda rollout: rate(rollout) or 0.0)
    rows = []
    for rollout in found:
        solved = rate(rollout)
        most = math.ceil(each * (1 - (solved or 0.0))) if hard_first else each
        samples = distinct(sample for sample in rollout.samples if sample.right or not right)
        rows += [
            Sft(
                problem=rollout.problem,
                prompt=rollout.prompt,
                completion=assistant(sample.text),
                source=source("sample", rollout, rate=solved),
            )
            for sample in _ordered(samples, rollout, order, seed)[: max(1, most)]
        ]
    return rows[:limit]


def _ordered(samples: list[Sample], rollout: Rollout, order: Order, seed: int) -> list[Sample]:
    if order == "shortest":
        return sorted(samples, key=lambda sample: len(sample.text))
    if order == "likeliest":
        return sorted(samples, key=lambda sample: -likelihood(rollout, sample))
    random_of(seed, rollout).shuffle(samples)
    return samples


def hinted(problems: Iterable[Problem], rollouts: Iterable[Rollout], template: str = HINT) -> list[Problem]:
    """The problems that no sample solved, asked anew with their answer as a hint.

    Args:
        problems: all problems; those without an answer are left out.
        rollouts: their first samples; a problem without any counts as not solved.
        template: the new text of the last user message; `{question}` stands for the old one and `{answer}`
            for the reference.

    Raises:
        TrainingError: the template lacks a place for question or answer.
    """
    if missing := [place for place in ("{question}", "{answer}") if place not in template]:
        raise TrainingError(f"the hint's template has no {' and no '.join(missing)}")
    solved = {rollout.problem for rollout in rollouts if any(sample.right for sample in rollout.samples)}
    return [
        problem.model_copy(update={"prompt": _with_hint(problem.prompt, problem.answer, template)})
        for problem in problems
        if problem.id not in solved and problem.answer is not None
    ]


def _with_hint(prompt: Sequence[Message], answer: str, template: str) -> list[Message]:
    last = max((n for n, message in enumerate(prompt) if message.role == "user"), default=None)
    if last is None:
        raise TrainingError("a prompt without a message of the user has no place for a hint")
    values = {"{question}": prompt[last].content, "{answer}": answer}
    text = re.sub(r"\{(?:question|answer)\}", lambda place: values[place[0]], template)
    return [*prompt[:last], prompt[last].model_copy(update={"content": text}), *prompt[last + 1 :]]


def rationalised(rollouts: Iterable[Rollout], hinted_rollouts: Iterable[Rollout]) -> list[Rollout]:
    """Rollouts to which, where no sample was right, the right ones with a hint are added, without the hint.

    The prompts stay those of the first round, so that what is learned is to answer without help. Of a problem
    that only has hinted rollouts nothing is kept, as its own prompt is not known.
    """
    helped = {rollout.problem: rollout for rollout in merged(hinted_rollouts)}
    rows = []
    for rollout in merged(rollouts):
        second = helped.get(rollout.problem)
        if second is None or any(sample.right for sample in rollout.samples):
            rows.append(rollout)
            continue
        samples = [*rollout.samples, *(sample for sample in second.samples if sample.right)]
        facts = {"samples": samples, "source": source("rationalised", rollout, hinted=second.source)}
        rows.append(rollout.model_copy(update=facts))
    return rows
