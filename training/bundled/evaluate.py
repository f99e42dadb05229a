"""Measure policy and verifiers on problems that no training saw: votes, best-of-n, beam search, verdicts."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from mull.training.bundled import sampler, tokenizer
from mull.training.bundled.checker import check_lines, is_right
from mull.training.bundled.model import Llama
from mull.training.bundled.problems import Problem, generate
from mull.training.statistics import Figure, auc, bootstrap, mean

EVALUATION_SEED = 900_001
"""Stream of the held-out problems."""
WIDTH = EXPAND = 4
DEPTH = 24


StepScorer = Callable[[Sequence[list[int]], Sequence[list[int]]], list[list[float]]]
"""From prompts and solutions to a score for each step of each."""


@dataclass(slots=True)
class Scored:
    """A finished solution and what each judge says of it."""

    ids: list[int]
    answer: str | None
    right: bool
    steps: list[bool]
    """Exact verdict on each line."""
    likelihood: float
    """Mean log-probability a token under the policy."""
    process: list[float] = field(default_factory=list)
    """Process verifier: score of each line."""
    outcome: float = 0.0
    """ORM: log-odds that the answer is right."""


@dataclass(frozen=True, slots=True)
class Case:
    """A held-out problem, the greedy solution and the sampled ones."""

    problem: Problem
    greedy: bool
    samples: list[Scored]


@dataclass(frozen=True, slots=True)
class Beam:
    """Outcome of one beam search."""

    right: bool
    tokens: int


def answer_of(text: str) -> str | None:
    """Content of the last box, None without one."""
    _, mark, rest = text.rpartition("\\boxed{")
    return rest.partition("}")[0].strip() if mark and "}" in rest else None


def step_ends(solution: Sequence[int]) -> list[int]:
    """Positions where steps end: every newline, and the last token when it is not one."""
    newline = tokenizer.piece_ids()["\n"]
    ends = [n for n, token in enumerate(solution) if token == newline]
    if solution and (not ends or ends[-1] != len(solution) - 1):
        ends.append(len(solution) - 1)
    return ends


def process_scores(
    prm: Llama, prompts: Sequence[list[int]], solutions: Sequence[list[int]]
) -> list[list[float]]:
    """Probability at the end of each step that all so far is correct."""
    outputs = sampler.hidden_states(prm, [p + s for p, s in zip(prompts, solutions, strict=True)], "score")
    found: list[list[float]] = []
    for prompt, solution, out in zip(prompts, solutions, outputs, strict=True):
        good = out.softmax(-1)[len(prompt) :, 1]
        found.append([float(good[n]) for n in step_ends(solution)])
    return found


def step_likelihoods(
    solver: Llama, prompts: Sequence[list[int]], solutions: Sequence[list[int]]
) -> list[list[float]]:
    """Probability that a language model gives to the tokens of each step."""
    outputs = sampler.hidden_states(solver, [p + s for p, s in zip(prompts, solutions, strict=True)], "lm")
    found: list[list[float]] = []
    for prompt, solution, out in zip(prompts, solutions, outputs, strict=True):
        ends = [0, *(end + 1 for end in step_ends(solution))]
        tokens = out[len(prompt) :].double()
        found.append([math.exp(float(tokens[a:b].sum())) for a, b in pairwise(ends)])
    return found


def outcome_scores(orm: Llama, prompts: Sequence[list[int]], solutions: Sequence[list[int]]) -> list[float]:
    """Log-odds at the last token that the answer is right."""
    outputs = sampler.hidden_states(orm, [p + s for p, s in zip(prompts, solutions, strict=True)], "score")
    return [float(out[-1, 0]) for out in outputs]


def sampled_cases(
    policy: Llama, *, count: int, n: int, temperature: float, seed: int = EVALUATION_SEED
) -> list[Case]:
    """Solve `count` held-out problems greedily and `n` times at `temperature`."""
    problems = list(generate(seed, count))
    prompts = [tokenizer.prompt_ids(p.question) for p in problems]
    greedy = sampler.sample(policy, prompts, 1, 0.0, 0)
    sampled = sampler.sample(policy, prompts, n, temperature, 1)
    cases: list[Case] = []
    for problem, best, samples in zip(problems, greedy, sampled, strict=True):
        rows: list[Scored] = []
        for s in samples:
            text = tokenizer.decode(s.ids)
            steps = check_lines(problem, text.removesuffix("\n").split("\n"))
            rows.append(Scored(s.ids, answer_of(text), is_right(problem, text), steps, mean(s.logprobs)))
        cases.append(Case(problem, is_right(problem, tokenizer.decode(best[0].ids)), rows))
    return cases


def judge(
    cases: Sequence[Case], process: StepScorer | None = None, orm: Llama | None = None, n: int = 16
) -> None:
    """Fill in the verifiers' scores of the first `n` samples of each case."""
    rows = [(tokenizer.prompt_ids(c.problem.question), s) for c in cases for s in c.samples[:n]]
    prompts, solutions = [p for p, _ in rows], [s.ids for _, s in rows]
    if process is not None:
        for (_, row), scores in zip(rows, process(prompts, solutions), strict=True):
            row.process = scores
    if orm is not None:
        for (_, row), score in zip(rows, outcome_scores(orm, prompts, solutions), strict=True):
            row.outcome = score


def majority(samples: Sequence[Scored]) -> bool:
    """Whether the most frequent answer is right; the first seen wins ties, no answer has no vote."""
    votes = Counter(s.answer for s in samples if s.answer is not None)
    if not votes:
        return False
    winner = votes.most_common(1)[0][0]
    return next(s.right for s in samples if s.answer == winner)


def best(samples: Sequence[Scored], key: Callable[[Scored], float]) -> bool:
    """Whether the sample with the highest score is right."""
    return max(samples, key=key).right


def vote(samples: Sequence[Scored], weight: Callable[[Scored], float]) -> bool:
    """Whether the answer with the greatest sum of weights is right."""
    totals: dict[str, float] = {}
    for s in samples:
        if s.answer is not None:
            totals[s.answer] = totals.get(s.answer, 0.0) + weight(s)
    if not totals:
        return False
    winner = max(totals, key=lambda answer: totals[answer])
    return next(s.right for s in samples if s.answer == winner)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def least(sample: Scored) -> float:
    """Score of a solution by its worst step."""
    return min(sample.process, default=0.0)


def first_error_f1(samples: Sequence[Scored], threshold: float = 0.5) -> tuple[float, float, float]:
    """F1, accuracy on solutions with an error, accuracy on those without (ProcessBench, arXiv:2412.06559)."""
    wrong: list[float] = []
    clean: list[float] = []
    for s in samples:
        truth = next((n for n, good in enumerate(s.steps) if not good), -1)
        found = next((n for n, p in enumerate(s.process) if p < threshold), -1)
        (clean if truth == -1 else wrong).append(float(truth == found))
    a, b = mean(wrong), mean(clean)
    return (2 * a * b / (a + b) if a + b else 0.0), a, b


def beam_search(
    policy: Llama, process: StepScorer, problems: Sequence[Problem], temperature: float
) -> list[Beam]:
    """Step beam search of width 4 and expansion 4 for all problems at once, as the server does it."""
    newline = tokenizer.piece_ids()["\n"]
    prompts = [tokenizer.prompt_ids(p.question) for p in problems]
    live: list[list[list[int]]] = [[[]] for _ in problems]
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in problems]
    tokens = [0] * len(problems)
    for level in range(DEPTH):
        active = [(p, beam) for p in range(len(problems)) for beam in live[p]]
        if not active:
            break
        n = EXPAND if level else EXPAND * WIDTH
        grown = sampler.sample(
            policy, [prompts[p] + beam for p, beam in active], n, temperature, 100 + level, stop=[newline]
        )
        children: dict[tuple[int, tuple[int, ...]], None] = {}
        for (p, beam), samples in zip(active, grown, strict=True):
            tokens[p] += sum(len(s.ids) for s in samples)
            children |= {(p, (*beam, *s.ids)): None for s in samples}
        keys = list(children)
        scores = process([prompts[p] for p, _ in keys], [list(c) for _, c in keys])
        going: list[list[tuple[float, list[int]]]] = [[] for _ in problems]
        for (p, child), score in zip(keys, scores, strict=True):
            (going if child[-1] == newline else ended)[p].append((min(score), list(child)))
        for p in range(len(problems)):
            ranked = sorted(going[p] + ended[p], key=lambda pair: -pair[0])[:WIDTH]
            live[p] = [beam for score, beam in ranked if beam[-1] == newline]
            top = max((score for score, beam in ended[p]), default=-math.inf)
            if live[p] and top >= max(score for score, beam in ranked if beam[-1] == newline):
                live[p] = []
    found: list[Beam] = []
    for p, problem in enumerate(problems):
        chosen = max(ended[p], default=(0.0, []))[1]
        found.append(Beam(is_right(problem, tokenizer.decode(chosen)), tokens[p]))
    return found


def policy_figures(cases: Sequence[Case], n: int = 16) -> dict[str, Figure]:
    """Greedy, sampled and voted accuracy; `pass@64` when there are as many samples."""
    figures = {
        "greedy": bootstrap(cases, lambda cs: mean([c.greedy for c in cs])),
        "pass@1": bootstrap(cases, lambda cs: mean([mean([s.right for s in c.samples]) for c in cs])),
        f"majority@{n}": bootstrap(cases, lambda cs: mean([majority(c.samples[:n]) for c in cs])),
        f"pass@{n}": bootstrap(cases, lambda cs: mean([any(s.right for s in c.samples[:n]) for c in cs])),
        f"best-of-{n} by own likelihood": bootstrap(
            cases, lambda cs: mean([best(c.samples[:n], lambda s: s.likelihood) for c in cs])
        ),
    }
    total = min(len(c.samples) for c in cases)
    if total > n:
        figures[f"pass@{total}"] = bootstrap(
            cases, lambda cs: mean([any(s.right for s in c.samples) for c in cs])
        )
    return figures


def process_figures(cases: Sequence[Case], threshold: float = 0.5, n: int = 16) -> dict[str, Figure]:
    """Best-of-n and a weighted vote by the worst step, and agreement with the exact first error."""

    def verdicts(part: int) -> Callable[[Sequence[Case]], float]:
        return lambda cs: first_error_f1([s for c in cs for s in c.samples[:n]], threshold)[part]

    return {
        f"best-of-{n}": bootstrap(cases, lambda cs: mean([best(c.samples[:n], least) for c in cs])),
        f"weighted vote of {n}": bootstrap(cases, lambda cs: mean([vote(c.samples[:n], least) for c in cs])),
        "first-error F1": bootstrap(cases, verdicts(0), 100),
        "first error found": bootstrap(cases, verdicts(1), 100),
        "correct solutions passed": bootstrap(cases, verdicts(2), 100),
        "AUC of the answer": bootstrap(cases, lambda cs: _auc(cs, least, n), 100),
    }


def outcome_figures(cases: Sequence[Case], n: int = 16) -> dict[str, Figure]:
    """Best-of-n, and separation of right answers from wrong ones over all samples."""
    return {
        f"best-of-{n}": bootstrap(
            cases, lambda cs: mean([best(c.samples[:n], lambda s: s.outcome) for c in cs])
        ),
        f"weighted vote of {n}": bootstrap(
            cases, lambda cs: mean([vote(c.samples[:n], lambda s: _sigmoid(s.outcome)) for c in cs])
        ),
        "AUC of the answer": bootstrap(cases, lambda cs: _auc(cs, lambda s: s.outcome, n), 100),
    }


def beam_figures(beams: Sequence[Beam], cases: Sequence[Case], n: int = 16) -> dict[str, Figure]:
    """Accuracy of beam search, and its tokens as a share of those of `n` whole samples."""
    pairs = [(b, sum(len(s.ids) for s in c.samples[:n])) for b, c in zip(beams, cases, strict=True)]
    return {
        "beam search 4x4": bootstrap(beams, lambda bs: mean([b.right for b in bs])),
        f"tokens of beam search / of {n} samples": bootstrap(
            pairs, lambda ps: sum(b.tokens for b, _ in ps) / sum(t for _, t in ps)
        ),
    }


def by_steps(cases: Sequence[Case]) -> dict[int, float]:
    """Greedy accuracy by number of steps."""
    lengths = sorted({c.problem.n_steps for c in cases})
    return {k: mean([c.greedy for c in cases if c.problem.n_steps == k]) for k in lengths}


def _auc(cases: Sequence[Case], key: Callable[[Scored], float], n: int) -> float:
    rows = [s for c in cases for s in c.samples[:n]]
    return auc([key(s) for s in rows], [s.right for s in rows])


def as_served(model: Llama) -> Llama:
    """The model in bfloat16, as its files are."""
    return model.to(torch.bfloat16).eval()
