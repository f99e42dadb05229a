"""Second turns: the policy is asked whether its answer is right, where it is wrong, and to write it anew.

The three requests are the default wordings of the strategies that ask them. Verdicts are exact, by the
checker; the answers judged are samples of the policy, and corrupted solutions. A label at every token of
the answer is learned on the side by a score head that is thrown away: one verdict in 200 tokens is little.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mull.training.bundled import tokenizer
from mull.training.bundled.checker import check_lines, check_pieces, is_right
from mull.training.bundled.corruption import corrupt
from mull.training.bundled.model import Llama
from mull.training.bundled.pretrain import shuffled_pairs, solution_example, split
from mull.training.bundled.problems import MAX_STEPS, Problem, generate_one
from mull.training.bundled.solver import solve
from mull.training.bundled.verifier import AFTER_ERROR_WEIGHT, STEP_WEIGHT, TOKEN_WEIGHT
from mull.training.bundled.wording import ALL_CORRECT, CHECK, CRITIQUE, REVISE

POOL_TOKENS = 48_000
BATCH_TOKENS = 1_500
ORDINARY = 0.4
"""Share of examples that are a question and its solution alone."""
OWN = 0.75
"""Share of judged answers that the policy wrote; the others are corrupted."""
MISLED = 0.15
"""Share of revisions that follow a wrong critique, so that they do not lean on it alone."""
DECIDING_WEIGHT = 4.0
"""Weight of the tokens in which verdicts differ; their other letters have `LETTER_WEIGHT`."""
LETTER_WEIGHT = 0.25
SURPRISE_WEIGHT = 1.0
LABELS = 3
"""Outputs of the score head: wrong, right, and the log-odds of the probability that the old policy gave."""
CHECKS = 0.4
"""Share of checks among second turns; the others are critiques."""

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and what is learned from its tokens."""

    role: Role
    text: str
    learned: Literal["no", "verdict", "text"] = "no"
    held: bool = False
    """Whether the policy is to go on writing this text as likely as before."""


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids with, for each, the weights of the three losses and the label of the third."""

    ids: list[int]
    learned: list[float]
    held: list[float]
    good: list[bool]
    judged: list[float]


@dataclass(frozen=True, slots=True)
class TurnBatch:
    """Rows padded on the right, each tensor of shape `[B, T]`."""

    ids: Tensor
    learned: Tensor
    held: Tensor
    good: Tensor
    judged: Tensor
    tokens: int


def first_wrong(problem: Problem, answer: str) -> int | None:
    """Number of the first wrong (or missing) line, counted from 1; None when all are right."""
    good = check_lines(problem, answer.removesuffix("\n").split("\n"))
    if all(good):
        return None if is_right(problem, answer) else len(good) + 1
    return good.index(False) + 1


def verdict(problem: Problem, answer: str) -> str:
    """The right reply to `CHECK`: whether the final answer is that of the problem."""
    return "Yes" if is_right(problem, answer) else "No"


def critique(problem: Problem, answer: str) -> str:
    """The right reply to `CRITIQUE`."""
    line = first_wrong(problem, answer)
    return ALL_CORRECT if line is None else f"Line {line} is wrong."


def revision(problem: Problem, answer: str, rng: random.Random) -> str:
    """A right solution that keeps the lines before the first wrong one; a right answer as it is."""
    line = first_wrong(problem, answer)
    if line is None:
        return answer
    kept = answer.split("\n")[: line - 1]
    named = {q.name: n for n, q in enumerate(problem.quantities)}
    told = {named[text.partition(" ")[0]] for text in kept if text.partition(" ")[0] in named}
    rest = "".join(piece for new in solve(problem, rng, told) for piece in new)
    return "".join(f"{text}\n" for text in kept) + rest


def check_turns(problem: Problem, answer: str) -> list[Turn]:
    """A question, an answer and its verdict."""
    right = first_wrong(problem, answer) is None
    return [
        Turn("user", problem.question),
        Turn("assistant", answer, held=right),
        Turn("user", CHECK),
        Turn("assistant", verdict(problem, answer), learned="verdict"),
    ]


def revise_turns(problem: Problem, answer: str, rng: random.Random) -> list[Turn]:
    """A question, an answer, its critique and, most often only for a wrong answer, the revised one."""
    right = first_wrong(problem, answer) is None
    turns = [Turn("user", problem.question), Turn("assistant", answer, held=right), Turn("user", CRITIQUE)]
    if rng.random() < MISLED:
        lines = [f"Line {n} is wrong." for n in range(1, answer.count("\n") + 2)]
        said = Turn("assistant", rng.choice([ALL_CORRECT, *lines]))
    else:
        said = Turn("assistant", critique(problem, answer), learned="verdict")
    if right and rng.random() < 0.8:
        return [*turns, said]
    return [
        *turns,
        said,
        Turn("user", REVISE),
        Turn("assistant", revision(problem, answer, rng), learned="text"),
    ]


def render(problem: Problem, turns: Sequence[Turn]) -> Row:
    """Tokens as the chat template gives them; the first answer is judged token by token."""
    row = Row([tokenizer.token_id(tokenizer.BOS)], [0.0], [0.0], [False], [0.0])
    judge = True
    for turn in turns:
        ids = tokenizer.encode(turn.text.strip() + "\n" if turn.role == "user" else turn.text)
        if turn.role == "assistant":
            ids.append(tokenizer.token_id(tokenizer.EOS))
        good, judged = [False] * len(ids), [0.0] * len(ids)
        if turn.role == "assistant" and judge:
            judge = False
            good, judged = _labels(problem, ids)
        row.ids.extend(ids)
        row.learned.extend(_learned(turn, ids))
        row.held.extend([float(turn.held)] * len(ids))
        row.good.extend(good)
        row.judged.extend(judged)
    return row


def _learned(turn: Turn, ids: list[int]) -> list[float]:
    if turn.learned != "verdict":
        return [float(turn.learned == "text")] * len(ids)
    texts = tokenizer.id_pieces()
    decides = [n == 0 or texts.get(i, "").strip().isdigit() for n, i in enumerate(ids)]
    return [DECIDING_WEIGHT if d else LETTER_WEIGHT for d in decides]


def _labels(problem: Problem, ids: list[int]) -> tuple[list[bool], list[float]]:
    """Whether each token is still on a correct path, and the weight of that label."""
    texts = tokenizer.id_pieces()
    pieces = [texts.get(i, "") for i in ids]
    good = check_pieces(problem, pieces)
    weights: list[float] = []
    for n, piece in enumerate(pieces):
        fresh = good[n] or n == 0 or good[n - 1]
        ends = piece in ("\n", "}.", tokenizer.EOS)
        weights.append(STEP_WEIGHT if ends else TOKEN_WEIGHT if fresh else AFTER_ERROR_WEIGHT)
    return good, weights


def turn_pool(seed: int, pool: int, answers: Sequence[Sequence[str]], answer_seed: int) -> list[TurnBatch]:
    """Batches of pool number `pool`: ordinary solutions, verdicts, and critiques with revisions.

    Args:
        seed: Stream of the draws, of the ordinary problems and of those with corrupted solutions.
        pool: Number of the pool; with `seed` it decides everything.
        answers: The policy's finished answers to the first problems of stream `answer_seed`.
        answer_seed: Stream of those problems.
    """
    rng = random.Random(f"turns/{seed}/{pool}")
    rows: list[Row] = []
    size = 0
    while size < POOL_TOKENS:
        index = pool * 10_000 + len(rows)
        if rng.random() < ORDINARY:
            plain = solution_example(seed, index, MAX_STEPS, rng)
            none = [0.0] * len(plain.ids)
            row = Row(plain.ids, none, plain.weights, [False] * len(none), none)
        else:
            row = _second_turns(seed, index, answers, answer_seed, rng)
        rows.append(row)
        size += len(row.ids)
    rows.sort(key=lambda r: len(r.ids))
    return shuffled_pairs(rng, [collate(group) for group in split(rows, BATCH_TOKENS)])


def _second_turns(
    seed: int, index: int, answers: Sequence[Sequence[str]], answer_seed: int, rng: random.Random
) -> Row:
    at = rng.randrange(len(answers))
    if rng.random() < OWN and answers[at]:
        problem, answer = generate_one(answer_seed, at), rng.choice(answers[at])
    else:
        problem = generate_one(seed, 2 * index)
        answer = "".join(piece for line in corrupt(problem, rng) for piece in line)
    if rng.random() < CHECKS:
        return render(problem, check_turns(problem, answer))
    return render(problem, revise_turns(problem, answer, rng))


def collate(rows: Sequence[Row]) -> TurnBatch:
    """Pad on the right; with causal attention the padding needs no mask."""
    length = max(len(r.ids) for r in rows)
    pad = tokenizer.token_id(tokenizer.PAD)
    ids = torch.tensor([r.ids + [pad] * (length - len(r.ids)) for r in rows])
    good = torch.tensor([r.good + [False] * (length - len(r.ids)) for r in rows])
    learned, held, judged = (
        torch.tensor([weights + [0.0] * (length - len(weights)) for weights in column])
        for column in ([r.learned for r in rows], [r.held for r in rows], [r.judged for r in rows])
    )
    return TurnBatch(ids, learned, held, good.long(), judged, sum(len(r.ids) for r in rows))


def turn_loss(model: Llama, batch: TurnBatch, before: Llama) -> Tensor:
    """Sum of the losses of what is written, of the labels and of the old policy's surprise, a scalar.

    Predicting as `before` does (distillation, Hinton et al. 2015, arXiv:1503.02531) where it is held keeps
    the policy as often right as it was, however long it learns to judge. The third output of the score head
    is to tell how probable `before` found each token that was written: most slips are improbable.
    """
    hidden = model.hidden(batch.ids)
    with torch.no_grad():
        old = before.logits(before.hidden(batch.ids)[:, :-1]).float().log_softmax(-1)
    return (
        _language_loss(model, batch, hidden, old)
        + _label_loss(model, batch, hidden)
        + SURPRISE_WEIGHT * _surprise_loss(model, batch, hidden, old)
    )


def _language_loss(model: Llama, batch: TurnBatch, hidden: Tensor, old: Tensor) -> Tensor:
    """Cross-entropy of the learned tokens, and of the old policy's predictions of the held ones."""
    learned, held = batch.learned[:, 1:], batch.held[:, 1:]
    new, kept = learned > 0, held > 0
    logits = model.logits(hidden[:, :-1][new]).float()
    wanted = F.cross_entropy(logits, batch.ids[:, 1:][new], reduction="none")
    logits = model.logits(hidden[:, :-1][kept]).float()
    same = F.cross_entropy(logits, old[kept].exp(), reduction="sum")
    return ((wanted * learned[new]).sum() + same) / (learned.sum() + held.sum()).clamp(min=1)


def _label_loss(model: Llama, batch: TurnBatch, hidden: Tensor) -> Tensor:
    """Weighted cross-entropy of the exact labels."""
    judged = batch.judged > 0
    weights = batch.judged[judged]
    scores = model.scores(hidden[judged])[:, :2].float()
    labels = F.cross_entropy(scores, batch.good[judged], reduction="none")
    return (labels * weights).sum() / weights.sum().clamp(min=1)


def _surprise_loss(model: Llama, batch: TurnBatch, hidden: Tensor, old: Tensor) -> Tensor:
    """Distance of the probability that the old policy gave to each token from the one told after it."""
    written = (batch.judged[:, 1:] > 0) | (batch.held[:, 1:] > 0)
    told = model.scores(hidden[:, 1:][written])[:, 2].float()
    truth = old.gather(2, batch.ids[:, 1:, None])[:, :, 0][written].exp()
    loss = F.binary_cross_entropy_with_logits(told, truth, reduction="sum")
    return loss / written.sum().clamp(min=1)
