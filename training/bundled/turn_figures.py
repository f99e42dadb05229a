"""What second turns are worth: verdicts, critiques and revisions of the policy's own samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mull.training.bundled import sampler, tokenizer
from mull.training.bundled.checker import is_right
from mull.training.bundled.evaluate import Case, Scored, best, first_error_f1, vote
from mull.training.bundled.model import Llama
from mull.training.bundled.turns import Role
from mull.training.bundled.wording import CHECK, CRITIQUE, REVISE
from mull.training.statistics import Figure, auc, bootstrap, mean

Message = tuple[Role, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """One of the policy's samples, its critique by the policy, and what it wrote after that."""

    sample: Scored
    found: int | None
    """The line that the critique names; None where it finds none."""
    revised: bool
    resampled: float
    """Share of right ones among the other samples of the same problem."""


def conversation(messages: Sequence[Message]) -> list[int]:
    """Token ids of the messages as the chat template renders them, ready for the next reply."""
    ids = [tokenizer.token_id(tokenizer.BOS)]
    for role, text in messages:
        ids += tokenizer.encode(f"{text.strip()}\n" if role == "user" else text)
        ids += [tokenizer.token_id(tokenizer.EOS)] * (role == "assistant")
    return ids


@torch.inference_mode()
def yes_probabilities(policy: Llama, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """P(Yes) / (P(Yes) + P(No)) by their first tokens, for each question and answer."""
    rows = [
        conversation([("user", question), ("assistant", answer), ("user", CHECK)])
        for question, answer in pairs
    ]
    yes, no = (tokenizer.encode(word)[0] for word in ("Yes", "No"))
    found = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for at in range(0, len(order), 64):
        members = order[at : at + 64]
        length = max(len(rows[i]) for i in members)
        pad = tokenizer.token_id(tokenizer.PAD)
        ids = torch.tensor([rows[i] + [pad] * (length - len(rows[i])) for i in members])
        last = torch.tensor([len(rows[i]) - 1 for i in members])
        states = policy.hidden(ids)[torch.arange(len(members)), last]
        logits = policy.logits(states).float()
        for i, p in zip(members, (logits[:, yes] - logits[:, no]).sigmoid().tolist(), strict=True):
            found[i] = p
    return found


def judge_by_check(policy: Llama, cases: Sequence[Case], n: int = 16) -> None:
    """Fill in, as outcome, the probability of Yes for the first `n` samples of each case."""
    rows = [(c.problem.question, s) for c in cases for s in c.samples[:n]]
    scores = yes_probabilities(policy, [(q, tokenizer.decode(s.ids)) for q, s in rows])
    for (_, sample), score in zip(rows, scores, strict=True):
        sample.outcome = score


def revise(policy: Llama, cases: Sequence[Case], temperature: float, each: int = 2) -> list[list[Judged]]:
    """Criticise greedily and revise at `temperature` the first `each` samples of every case."""
    flat = [(case, s) for case in cases for s in case.samples[:each]]
    talks: list[list[Message]] = [
        [("user", c.problem.question), ("assistant", tokenizer.decode(s.ids)), ("user", CRITIQUE)]
        for c, s in flat
    ]
    critiques = _replies(policy, talks, 0.0)
    for talk, said in zip(talks, critiques, strict=True):
        talk += [("assistant", said), ("user", REVISE)]
    revisions = _replies(policy, talks, temperature)
    judged = [
        Judged(
            s,
            named_line(said),
            is_right(c.problem, revised),
            mean([t.right for t in c.samples if t is not s]),
        )
        for (c, s), said, revised in zip(flat, critiques, revisions, strict=True)
    ]
    return [judged[n : n + each] for n in range(0, len(judged), each)]


def named_line(said: str) -> int | None:
    """The line that a critique calls wrong."""
    digits = "".join(ch for ch in said if ch.isdigit())
    return int(digits) if digits else None


def _replies(policy: Llama, talks: Sequence[Sequence[Message]], temperature: float) -> list[str]:
    found = sampler.sample(policy, [conversation(talk) for talk in talks], 1, temperature, 7)
    return [tokenizer.decode(row[0].ids) for row in found]


def check_figures(cases: Sequence[Case], n: int = 16) -> dict[str, Figure]:
    """Separation of right answers from wrong ones by P(Yes), and choices by it."""

    def area(cs: Sequence[Case]) -> float:
        rows = [s for c in cs for s in c.samples[:n]]
        return auc([s.outcome for s in rows], [s.right for s in rows])

    def accuracy(cs: Sequence[Case]) -> float:
        return mean([(s.outcome > 0.5) == s.right for c in cs for s in c.samples[:n]])

    return {
        "check: AUC of P(Yes)": bootstrap(cases, area, 100),
        "check: right verdicts": bootstrap(cases, accuracy, 100),
        f"best-of-{n} by P(Yes)": bootstrap(
            cases, lambda cs: mean([best(c.samples[:n], lambda s: s.outcome) for c in cs])
        ),
        f"vote of {n} weighted by P(Yes)": bootstrap(
            cases, lambda cs: mean([vote(c.samples[:n], lambda s: s.outcome) for c in cs])
        ),
    }


def revision_figures(judged: Sequence[Sequence[Judged]]) -> dict[str, Figure]:
    """How good critiques are, and what a revision wins over a new sample; bootstrapped over problems."""

    def critique_f1(rows: Sequence[Sequence[Judged]]) -> float:
        scored = [
            Scored([], None, j.sample.right, j.sample.steps, 0.0, _as_scores(j)) for row in rows for j in row
        ]
        return first_error_f1(scored)[0]

    def wrong(rows: Sequence[Sequence[Judged]]) -> list[Judged]:
        return [j for row in rows for j in row if not j.sample.right]

    def kept(rows: Sequence[Sequence[Judged]]) -> float:
        right = [j for row in rows for j in row if j.sample.right]
        return mean([j.found is None or j.revised for j in right])

    return {
        "critique: first-error F1": bootstrap(judged, critique_f1, 100),
        "revision of a wrong sample is right": bootstrap(
            judged, lambda r: mean([j.revised for j in wrong(r)])
        ),
        "a new sample of the same problems is right": bootstrap(
            judged, lambda r: mean([j.resampled for j in wrong(r)])
        ),
        "right samples still right after critique": bootstrap(judged, kept),
        "one round of critique and revision": bootstrap(
            judged,
            lambda r: mean([j.sample.right if j.found is None else j.revised for row in r for j in row]),
        ),
    }


def _as_scores(judged: Judged) -> list[float]:
    """One score a line, 0 for the line that the critique names."""
    return [float(n + 1 != judged.found) for n in range(len(judged.sample.steps))]
