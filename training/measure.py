"""What a policy is worth: greedy, mean, voted and oracle accuracy on problems that no training saw."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path

from mull.training.data.problems import load
from mull.training.data.rows import Problem, Sample
from mull.training.recipes.base import Evaluation
from mull.training.rollouts import Task, collect, generate, judge, requests_of
from mull.training.statistics import Figure, bootstrap, mean

VOTES = 16


@dataclass(frozen=True, slots=True)
class Case:
    """A problem: whether the greedy answer is right; each sample's answer and whether it is right."""

    greedy: bool
    answers: tuple[str | None, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after, with the difference measured problem by problem."""

    before: Figure
    after: Figure
    difference: Figure


def solve(model: str | Path, evaluation: Evaluation, folder: Path, name: str, seed: int = 1) -> list[Case]:
    """Solve the problems of `evaluation` greedily and by sampling; kept in `folder/name.json`.

    Raises:
        TrainingError: the model cannot be sampled from.
    """
    kept = folder / f"{name}.json"
    if kept.exists():
        return [
            Case(c["greedy"], tuple(c["answers"]), tuple(c["right"])) for c in json.loads(kept.read_text())
        ]
    folder.mkdir(parents=True, exist_ok=True)
    problems = load(evaluation.problems)
    asked = folder / f"{name}-requests.jsonl"
    requests_of(problems, asked)
    tasks = [
        Task(
            requests=asked,
            out=folder / f"{name}-{how}.jsonl",
            n=n,
            temperature=temperature,
            max_tokens=evaluation.max_tokens,
        )
        for how, n, temperature in (
            ("greedy", 1, 0.0),
            ("samples", evaluation.samples, evaluation.temperature),
        )
        if n
    ]
    generate(tasks, model=str(model), seed=seed)
    greedy, *sampled = (collect(task.out, len(problems)) for task in tasks)
    cases = _cases(problems, greedy, sampled[0] if sampled else [[] for _ in problems])
    kept.write_text(json.dumps([asdict(c) for c in cases]) + "\n")
    for file in (asked, *(task.out for task in tasks)):
        file.unlink()
    return cases


def solve_with_adapter(model: str, adapter: str, evaluation: Evaluation) -> list[Case]:
    """Solve the problems greedily with an adapter that vLLM does not load, by transformers in this process.

    Args:
        model: The base model.
        adapter: Folder of the adapter.
        evaluation: The problems; samples are not drawn.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mull.training.guards.solve import right
    from mull.training.guards.solve import solve as answer

    problems = load(evaluation.problems)
    whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    answers = answer(whole, tokenizer, problems, evaluation.max_tokens, bf16=False)
    return [Case(bool(good), (), ()) for good in right(problems, answers)]


def _cases(
    problems: Sequence[Problem], greedy: Sequence[Sequence[Sample]], sampled: Sequence[Sequence[Sample]]
) -> list[Case]:
    rows = [
        (s.text, p.answer)
        for p, first, others in zip(problems, greedy, sampled, strict=True)
        for s in (*first, *others)
    ]
    found = iter(judge(rows))
    cases = []
    for others in sampled:
        best = next(found)
        verdicts = [next(found) for _ in others]
        cases.append(
            Case(bool(best.right), tuple(v.answer for v in verdicts), tuple(bool(v.right) for v in verdicts))
        )
    return cases


def majority(case: Case, n: int) -> bool:
    """Whether the most frequent of the first `n` answers is right; none has no vote, the first wins ties."""
    votes = Counter(a for a in case.answers[:n] if a is not None)
    if not votes:
        return False
    return case.right[case.answers.index(votes.most_common(1)[0][0])]


def pass_at(case: Case, k: int) -> float:
    """Probability that one of `k` of the samples is right (Chen et al. 2021, arXiv:2107.03374, eq. 1)."""
    n, wrong = len(case.right), case.right.count(False)
    return 1 - comb(wrong, k) / comb(n, k)


def statistics(samples: int) -> dict[str, Callable[[Case], float]]:
    """What is reported of a problem with that many samples, by name."""
    found: dict[str, Callable[[Case], float]] = {"greedy": lambda c: float(c.greedy)}
    if samples:
        found["pass@1"] = lambda c: mean(c.right)
    if samples > 1:
        votes = min(VOTES, samples)
        found[f"majority@{votes}"] = lambda c: float(majority(c, votes))
        found[f"pass@{votes}"] = lambda c: pass_at(c, votes)
    if samples > VOTES:
        found[f"pass@{samples}"] = lambda c: pass_at(c, samples)
    return found


def figures(cases: Sequence[Case]) -> dict[str, Figure]:
    """Each statistic with its 95 % interval, a bootstrap over problems."""
    return {
        name: bootstrap([of(c) for c in cases], mean) for name, of in statistics(len(cases[0].right)).items()
    }


def changes(before: Sequence[Case], after: Sequence[Case]) -> dict[str, Change]:
    """Each statistic before and after; the difference is resampled over the same problems for both."""
    return {
        name: Change(
            bootstrap([of(c) for c in before], mean),
            bootstrap([of(c) for c in after], mean),
            bootstrap([of(b) - of(a) for a, b in zip(before, after, strict=True)], mean),
        )
        for name, of in statistics(len(before[0].right)).items()
    }
