"""From outcomes to figures: one summary a run, one comparison a pair of runs."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import fmean

from mull.server.bench.outcomes import Log, Outcome, Sample
from mull.server.bench.spec import RunSpec
from mull.server.bench.statistics import (
    Difference,
    Estimate,
    best_at_k,
    majority_at_k,
    mean,
    paired,
    pass_at_k,
    proportion,
)
from mull.server.bench.sweep import Sweep

FEW = 8
"""With more runs than this, a report shows a selection of the pairs and samples."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The problems with one number of steps."""

    problems: int
    accuracy: Estimate


@dataclass(frozen=True, kw_only=True)
class AtK:
    """What `k` of a run's samples would have given, averaged over the choices of `k` from all."""

    k: int
    tokens: float
    """Mean tokens of `k` samples."""
    passed: Estimate
    """pass@k: at least one is right. At 1 it is the mean accuracy of a single sample."""
    majority: Estimate
    best: Estimate | None
    """The one scored highest is right; None without scores."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run over all problems; means are per problem."""

    run: RunSpec
    repeats: int
    shares: tuple[float, ...]
    """For each problem the share of its repetitions that were right."""
    accuracy: Estimate
    tokens: Estimate
    verifier_tokens: Estimate
    seconds: Estimate
    engine_calls: Estimate
    stopped: Mapping[str, int]
    """How often each reason ended a search."""
    by_steps: Mapping[int, Group]
    at_k: tuple[AtK, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the same problems: the accuracy of the first minus that of the second."""

    first: RunSpec
    second: RunSpec
    accuracy: Difference
    tokens: float
    """Tokens of the first, as a multiple of the second's."""


def summarize(sweep: Sweep, log: Log) -> list[Summary]:
    """A summary of each run; all must be done."""
    return [_summary(sweep, run, sweep.done(run, log)) for run in sweep.runs]


def compare(summaries: Sequence[Summary]) -> list[Comparison]:
    """Every two runs with the same budget, the later one of them first.

    Of more than a few runs, each with the first one alone: nobody reads hundreds of pairs.
    """
    pairs = (
        list(combinations(summaries, 2))
        if len(summaries) <= FEW
        else [(summaries[0], b) for b in summaries[1:]]
    )
    return [
        Comparison(
            first=b.run,
            second=a.run,
            accuracy=paired(b.shares, a.shares),
            tokens=b.tokens.value / a.tokens.value if a.tokens.value else math.inf,
        )
        for a, b in pairs
        if a.run.budget == b.run.budget
    ]


def _summary(sweep: Sweep, run: RunSpec, done: Sequence[Outcome]) -> Summary:
    repeats = sweep.repeats_of(run)
    outcomes = [done[i : i + repeats] for i in range(0, len(done), repeats)]
    shares = tuple(fmean(o.correct for o in repetitions) for repetitions in outcomes)

    def per_problem(field: str) -> Estimate:
        return mean([fmean(getattr(o, field) for o in repetitions) for repetitions in outcomes])

    groups: dict[int, list[float]] = {}
    for problem, share in zip(sweep.problems, shares, strict=True):
        if problem.steps is not None:
            groups.setdefault(problem.steps, []).append(share)
    return Summary(
        run=run,
        repeats=repeats,
        shares=shares,
        accuracy=proportion(shares, repeats),
        tokens=per_problem("tokens"),
        verifier_tokens=per_problem("verifier_tokens"),
        seconds=per_problem("seconds"),
        engine_calls=per_problem("engine_calls"),
        stopped=dict(Counter(outcome.stopped for outcome in done)),
        by_steps={
            steps: Group(problems=len(group), accuracy=proportion(group, repeats))
            for steps, group in sorted(groups.items())
        },
        at_k=tuple(_at_k([[o.samples for o in repetitions] for repetitions in outcomes], sweep.seed)),
    )


def _at_k(drawn: Sequence[Sequence[Sequence[Sample]]], seed: int) -> Iterator[AtK]:
    """Estimates for 1, 2, 4, ... samples, up to the number that every problem has; none from one."""
    most = min(len(samples) for repetitions in drawn for samples in repetitions)
    sizes = {2**i for i in range(most.bit_length())} | {most} if most > 1 else set()
    flat = [sample for repetitions in drawn for samples in repetitions for sample in samples]
    scored = all(sample.score is not None for sample in flat)

    def estimate(figure: Callable[[Sequence[Sample]], float]) -> Estimate:
        return proportion([fmean(map(figure, repetitions)) for repetitions in drawn], len(drawn[0]))

    for k in sorted(sizes):
        yield AtK(
            k=k,
            tokens=k * fmean(sample.tokens for sample in flat),
            passed=estimate(partial(_pass, k)),
            majority=estimate(partial(_majority, k, random.Random(seed))),
            best=estimate(partial(_best, k)) if scored else None,
        )


def _pass(k: int, samples: Sequence[Sample]) -> float:
    return pass_at_k(len(samples), sum(sample.correct for sample in samples), k)


def _majority(k: int, rng: random.Random, samples: Sequence[Sample]) -> float:
    return majority_at_k([(sample.answer, sample.correct) for sample in samples], k, rng)


def _best(k: int, samples: Sequence[Sample]) -> float:
    ranked = sorted(samples, key=lambda sample: (not sample.complete, -(sample.score or 0.0)))
    return best_at_k([sample.correct for sample in ranked], k)
