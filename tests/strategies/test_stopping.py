"""Adaptive consistency and early-stopping windows: when they stop, what it saves, and no short cuts."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Sequence
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.adaptive_consistency import (
    AdaptiveConsistency,
    leads_at_end,
    leads_by_beta,
    leads_by_dirichlet,
)
from mull.strategies.base import StrategyModel
from mull.strategies.early_stopping import EarlyStopping
from mull.strategies.majority_vote import MajorityVote
from mull.testing import Script, ScriptedGenerator, Trial, World, solve
from mull.types import Answer, Completion, Meter, Prompt, Sampling

WORLD = World()
RIGHT = "1"


def shares(right: float, wrong: int = 4) -> Script:
    """Answers 1 with this probability, else one of the others."""

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        drawn = RIGHT if rng.random() < right else str(rng.randint(2, wrong + 1))
        return f"\\boxed{{{drawn}}}"

    return script


async def ask(strategy: StrategyModel, texts: Sequence[str], **options: Any) -> tuple[Answer, Trial]:
    """Run a strategy over samples with these texts."""
    left = iter(texts)
    engine = ScriptedGenerator(lambda text, rng, sampling: next(left), order=3)
    return await solve(strategy, WORLD, task=WORLD.task(max_tokens=50), generator=engine, **options)


def box(answers: str) -> list[str]:
    return [f"so \\boxed{{{a}}}" for a in answers]


# -- the probability of staying in the lead ----------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(1, 0), (4, 0), (3, 1), (10, 7), (40, 22), (5, 5)])
def test_the_sum_over_tosses_is_the_beta_integral(first: int, second: int) -> None:
    steps = 20_000
    density = math.lgamma(first + second + 2) - math.lgamma(first + 1) - math.lgamma(second + 1)
    points = (0.5 + 0.5 * (i + 0.5) / steps for i in range(steps))
    integral = sum(
        math.exp(density + first * math.log(p) + second * math.log(1 - p)) * 0.5 / steps for p in points
    )
    assert leads_by_beta([first, second]) == pytest.approx(integral, abs=1e-6)


@pytest.mark.parametrize("votes", [[3], [4, 1], [6, 5, 1], [9, 4, 4, 2, 1], [30, 25, 3]])
def test_the_dirichlet_integral_is_what_drawing_from_it_gives(votes: list[int]) -> None:
    """40000 draws: 4 sigma are 1 point."""
    rng, shapes, draws = random.Random(0), [v + 1 for v in votes] + [1] * (len(votes) == 1), 40_000
    led = 0
    for _ in range(draws):
        gammas = [rng.gammavariate(shape, 1) for shape in shapes]
        led += gammas[0] == max(gammas)
    assert leads_by_dirichlet(votes) == pytest.approx(led / draws, abs=0.01)


@pytest.mark.parametrize("votes", [[5, 2], [1, 1], [40, 30], [500, 450]])
def test_with_two_answers_both_rules_are_one(votes: list[int]) -> None:
    assert leads_by_dirichlet(votes) == pytest.approx(leads_by_beta(votes), abs=1e-5)


def test_more_rivals_make_the_lead_less_sure() -> None:
    assert leads_by_dirichlet([5, 4, 4, 4]) < leads_by_dirichlet([5, 4]) - 0.1


# -- the probability of being ahead in the end ------------------------------------------------------------

STANDINGS = [(a, b, c) for a in range(1, 7) for b in range(a + 1) for c in range(5)]
"""Votes of the leader and of the runner-up, and all other samples."""


@cache
def drawn_out(first: int, second: int, others: int, left: int) -> Fraction:
    """By all ways in which the samples to come can fall, each as probable as the shares so far make it."""
    if left == 0:
        return Fraction((first > second) * 2 + (first == second), 2)
    balls = first + second + others + 3
    return (
        Fraction(first + 1, balls) * drawn_out(first + 1, second, others, left - 1)
        + Fraction(second + 1, balls) * drawn_out(first, second + 1, others, left - 1)
        + Fraction(others + 1, balls) * drawn_out(first, second, others + 1, left - 1)
    )


def at_end(standing: tuple[int, int, int], left: int) -> float:
    first, second, _ = standing
    drawn = sum(standing)
    return leads_at_end([first, second] if second else [first], drawn=drawn, n=drawn + left)


@pytest.mark.parametrize("left", range(13))
def test_the_prediction_is_what_drawing_all_in_all_ways_gives(left: int) -> None:
    for standing in STANDINGS:
        assert at_end(standing, left) == pytest.approx(float(drawn_out(*standing, left)), abs=1e-12)


def test_a_lead_that_the_samples_left_cannot_make_up_is_certain() -> None:
    assert leads_at_end([5, 2], drawn=9, n=11) == 1.0
    assert leads_at_end([5, 2, 2], drawn=9, n=12) < 1.0
    assert leads_at_end([1], drawn=1, n=1) == 1.0
    assert leads_at_end([3, 3], drawn=7, n=7) == 0.5


def test_a_prediction_is_the_surer_the_fewer_are_left_and_never_less_sure_than_an_endless_vote() -> None:
    for standing in STANDINGS:
        sure = [at_end(standing, left) for left in range(80)]
        assert all(near >= far - 1e-12 for near, far in pairwise(sure))
        assert sure[-1] >= leads_by_beta(standing[:2]) - 1e-12


@pytest.mark.parametrize("votes", [[4], [3, 1], [10, 7, 2], [40, 30, 8]])
def test_the_prediction_of_a_vote_without_end_is_the_endless_one(votes: list[int]) -> None:
    drawn = sum(votes) + 3
    assert leads_at_end(votes, drawn=drawn, n=100_000) == pytest.approx(leads_by_beta(votes), abs=1e-3)


# -- adaptive consistency ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["beta", "dirichlet", "predictive"])
async def test_it_saves_most_samples_and_loses_no_accuracy(rule: str) -> None:
    """The same samples as majority@40 as far as they go: within 1 point, at 0.4 of them at most."""
    right = reference = spent = trials = 0
    strategy = AdaptiveConsistency.model_validate({"rule": rule})
    for share in (0.9, 0.75, 0.6, 0.45):
        for seed in range(40):
            engine, task = ScriptedGenerator(shares(share)), WORLD.task(seed=seed)
            answer, trial = await solve(strategy, WORLD, task=task, generator=engine)
            vote, _ = await solve(
                MajorityVote(n=40), WORLD, task=task, generator=ScriptedGenerator(shares(share))
            )
            right += answer.best.answer == RIGHT
            reference += vote.best.answer == RIGHT
            spent += trial.run.budget.samples
            trials += 1
    assert right >= reference - 0.01 * trials
    assert spent <= 0.4 * 40 * trials


@pytest.mark.parametrize(
    ("texts", "samples", "stopped"),
    [("1111", 4, "consensus"), ("11121111", 8, "consensus"), ("121212121212", 12, "complete")],
)
async def test_it_stops_at_the_first_batch_that_decides(texts: str, samples: int, stopped: str) -> None:
    answer, trial = await ask(AdaptiveConsistency(n=12), box(texts))
    assert (trial.run.budget.samples, trial.run.stopped) == (samples, stopped)
    assert len(answer.choices) == samples


async def test_the_demanded_confidence_decides() -> None:
    for confidence, samples in ((0.9, 3), (0.95, 4), (0.99, 6)):
        _, trial = await ask(AdaptiveConsistency(batch=1, confidence=confidence), box("1" * 40))
        assert trial.run.budget.samples == samples, "1 - 2^-(votes + 1) is the probability to lead"


async def test_a_prediction_ends_what_an_endless_vote_leaves_open() -> None:
    texts = box("1212341511131411")
    for rule, samples in (("beta", 16), ("predictive", 10)):
        strategy = AdaptiveConsistency.model_validate({"n": 16, "batch": 2, "rule": rule})
        answer, trial = await ask(strategy, texts)
        assert (trial.run.budget.samples, answer.best.answer) == (samples, "1")


async def test_samples_that_cannot_be_read_leave_a_prediction_fewer_to_come() -> None:
    strategy = AdaptiveConsistency(n=12, batch=2, confidence=0.99, rule="predictive")
    _, trial = await ask(strategy, [*box("11"), *["no idea"] * 10])
    assert trial.run.budget.samples == 10, "2 votes are not overtaken by 2 more samples, or with p < .01"


async def test_unreadable_answers_neither_hasten_nor_hinder() -> None:
    texts = ["no idea"] * 6 + box("11") + ["well " * 100] * 2 + box("11")
    answer, trial = await ask(AdaptiveConsistency(n=20), texts)
    assert (trial.run.budget.samples, trial.run.stopped, answer.best.votes) == (12, "consensus", 4.0)


async def test_nothing_is_stopped_by_samples_that_cannot_be_read() -> None:
    for strategy in (AdaptiveConsistency(n=8), EarlyStopping(n=8, window=2)):
        answer, trial = await ask(strategy, ["no idea"] * 8)
        assert (trial.run.budget.samples, trial.run.stopped, answer.confidence) == (8, "complete", None)


async def test_a_budget_that_ends_it_is_named() -> None:
    for strategy in (AdaptiveConsistency(), EarlyStopping()):
        answer, trial = await ask(strategy, box("12312"), limits=Limits(samples=5))
        assert (len(answer.choices), trial.run.stopped) == (5, "samples")


# -- windows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "samples", "best", "stopped"),
    [
        ("222", 3, "2", "consensus"),
        ("121333", 6, "3", "consensus"),
        ("122112", 6, "1", "complete"),
        ("1122211221", 10, "1", "complete"),
    ],
)
async def test_a_window_of_one_mind_stops_and_all_vote(
    texts: str, samples: int, best: str, stopped: str
) -> None:
    answer, trial = await ask(
        EarlyStopping(n=len(texts) if stopped == "complete" else 12, window=3), box(texts)
    )
    assert (trial.run.budget.samples, answer.best.answer, trial.run.stopped) == (samples, best, stopped)


async def test_a_window_with_an_unreadable_answer_does_not_agree() -> None:
    _, trial = await ask(EarlyStopping(n=9, window=3), [*box("11"), "no idea", *box("111")])
    assert trial.run.budget.samples == 6


async def test_windows_save_samples_and_lose_no_accuracy() -> None:
    right = reference = spent = 0
    for seed in range(100):
        task = WORLD.task(seed=seed)
        engine = ScriptedGenerator(shares(0.75))
        answer, trial = await solve(EarlyStopping(), WORLD, task=task, generator=engine)
        vote, _ = await solve(MajorityVote(n=40), WORLD, task=task, generator=ScriptedGenerator(shares(0.75)))
        right += answer.best.answer == RIGHT
        reference += vote.best.answer == RIGHT
        spent += trial.run.budget.samples
    assert right >= reference - 1
    assert spent <= 0.5 * 40 * 100


# -- no favour for the short -------------------------------------------------------------------------------


class ShortFirst(ScriptedGenerator):
    """Finishes the samples of a call in the order of their lengths."""

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        drawn = [c async for c in super().sample(prompt, sampling, n=n, meter=meter)]
        for completion in sorted(drawn, key=lambda c: len(c.text)):
            yield completion


def hasty(text: str, rng: random.Random, sampling: Sampling) -> str:
    """Short answers are wrong, all in the same way; the longer ones, a few more, are right."""
    return "\\boxed{9}" if rng.random() < 0.4 else "let me see " * rng.randint(3, 9) + "\\boxed{1}"


@pytest.mark.parametrize(
    "strategy",
    [AdaptiveConsistency(), AdaptiveConsistency(batch=16), EarlyStopping()],
    ids=["adaptive", "adaptive_16", "windows"],
)
async def test_short_samples_that_finish_first_fool_nobody(strategy: StrategyModel) -> None:
    right = reference = 0
    for seed in range(80):
        task = WORLD.task(seed=seed)
        answer, _ = await solve(strategy, WORLD, task=task, generator=ShortFirst(hasty))
        plain, _ = await solve(strategy, WORLD, task=task, generator=ScriptedGenerator(hasty))
        assert [c.candidate.text for c in answer.choices] == [c.candidate.text for c in plain.choices]
        vote, _ = await solve(MajorityVote(n=40), WORLD, task=task, generator=ShortFirst(hasty))
        right += answer.best.answer == RIGHT
        reference += vote.best.answer == RIGHT
    assert reference > 64
    assert right > 0.75 * 80, "one who counts what comes first is right in 0.4 of the cases at most"


@pytest.mark.parametrize(
    ("strategy", "fields"),
    [
        (AdaptiveConsistency, {"n": 0}),
        (AdaptiveConsistency, {"batch": 0}),
        (AdaptiveConsistency, {"confidence": 0.5}),
        (AdaptiveConsistency, {"confidence": 1.0}),
        (AdaptiveConsistency, {"rule": "gut"}),
        (EarlyStopping, {"window": 1}),
        (EarlyStopping, {"n": 5000}),
    ],
)
def test_bad_parameters_are_refused(strategy: type[StrategyModel], fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        strategy.model_validate(fields)
