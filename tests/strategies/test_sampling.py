"""Single, majority vote, best-of-N: ties, empty, truncated, unreadable answers, good and bad verifiers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import InvalidRequest
from mull.protocols import Verifier
from mull.strategies.base import StrategyModel
from mull.strategies.best_of_n import BestOfN, WeightedBestOfN
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.single import Single
from mull.testing import ScriptedGenerator, ScriptedVerifier, Trial, World, solve
from mull.types import Answer, Candidate, Score, Task, VerifierKind

WORLD = World()
LONG = "well " * 100
"""Longer than the 50 tokens that these tests allow."""


class Says:
    """A verifier that gives each text the score it is told, or step scores."""

    name = "says"
    kind: VerifierKind = "outcome"

    def __init__(self, scores: dict[str, float | tuple[float, ...]]) -> None:
        self.scores = scores

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        found = [self.scores[c.text] for c in candidates]
        return [Score(value=0.0, steps=s) if isinstance(s, tuple) else Score(value=s) for s in found]


async def ask(
    strategy: StrategyModel, texts: Sequence[str], *, verifier: Verifier | None = None, **options: Any
) -> tuple[Answer, Trial]:
    """Run a strategy over samples with these texts."""
    left = iter(texts)
    engine = ScriptedGenerator(lambda text, rng, sampling: next(left), order=3)
    task = WORLD.task(max_tokens=50, n=options.pop("n", 1))
    return await solve(strategy, WORLD, task=task, generator=engine, verifier=verifier, **options)


def box(*answers: str) -> list[str]:
    return [f"so \\boxed{{{a}}}" for a in answers]


# -- single ------------------------------------------------------------------------------------------------


async def test_single_is_the_models_own_answer() -> None:
    answer, trial = await ask(Single(), box("7"))
    assert (answer.best.answer, answer.best.votes, answer.confidence) == ("7", None, None)
    assert trial.generator.calls == 1


async def test_single_samples_independently_when_several_are_asked_for() -> None:
    answer, trial = await ask(Single(), box("7", "8", "9"), n=3)
    assert [c.answer for c in answer.choices] == ["7", "8", "9"]
    assert trial.generator.calls == 1


async def test_single_works_at_temperature_0() -> None:
    answer, _ = await solve(Single(), WORLD, task=WORLD.task(temperature=0.0))
    assert answer.best.answer == WORLD.reference


async def test_single_returns_what_is_cut_off() -> None:
    answer, trial = await ask(Single(), [LONG])
    assert (answer.best.candidate.finish, answer.best.answer, trial.run.stopped) == (
        "length",
        None,
        "complete",
    )


async def test_single_returns_an_empty_answer() -> None:
    answer, _ = await ask(Single(), [""])
    assert (answer.best.candidate.text, answer.best.candidate.finish, answer.best.answer) == (
        "",
        "stop",
        None,
    )


@pytest.mark.parametrize("commits", [False, True])
async def test_nothing_produced_is_an_error_that_names_the_budget(commits: bool) -> None:
    for strategy in (Single(), MajorityVote(), BestOfN(), WeightedBestOfN()):
        with pytest.raises(InvalidRequest, match="samples") as refused:
            await ask(strategy, box("7"), limits=Limits(samples=0), commits=commits)
        assert (refused.value.param, refused.value.code) == ("ttc.budget", "budget_exhausted")


# -- majority vote -----------------------------------------------------------------------------------------


async def test_the_most_frequent_answer_wins() -> None:
    answer, _ = await ask(MajorityVote(n=5), box("1", "2", "3", "2", "1,000"))
    assert (answer.best.answer, answer.best.votes, answer.confidence) == ("2", 2.0, 0.4)
    assert [c.answer for c in answer.choices] == ["2", "2", "1", "3", "1,000"]


async def test_equal_values_vote_together() -> None:
    answer, _ = await ask(MajorityVote(n=5), box("3", "1/2", "3", "0.5", r"\frac12"))
    assert (answer.best.answer, answer.best.votes) == ("1/2", 3.0)
    assert {c.answer for c in answer.choices} == {"1/2", "3"}, "one spelling for each answer"


async def test_a_tie_goes_to_the_answer_sampled_first() -> None:
    answer, _ = await ask(MajorityVote(n=4), box("4", "5", "5", "4"))
    assert [c.answer for c in answer.choices] == ["4", "4", "5", "5"]


async def test_unreadable_answers_never_win_together() -> None:
    texts = ["I give up", "no idea", r"\boxed{}", r"\boxed{7", "", *box("8")]
    answer, _ = await ask(MajorityVote(n=6), texts)
    assert (answer.best.answer, answer.best.votes, answer.confidence) == ("8", 1.0, 1.0)
    assert all(c.votes is None for c in answer.choices[1:])


async def test_truncated_answers_do_not_vote() -> None:
    cut = "\\boxed{9} " + LONG
    answer, _ = await ask(MajorityVote(n=4), [cut, cut, cut, *box("8")])
    assert (answer.best.answer, answer.best.votes) == ("8", 1.0)
    assert [c.candidate.truncated for c in answer.choices] == [False, True, True, True]


async def test_without_any_vote_the_first_complete_sample_is_returned() -> None:
    answer, _ = await ask(MajorityVote(n=4), [LONG, "hm", LONG, "no idea"])
    assert (answer.best.candidate.text, answer.best.answer, answer.confidence) == ("hm", None, None)
    answer, _ = await ask(MajorityVote(n=2), [LONG, LONG])
    assert answer.best.candidate.truncated


async def test_voting_beats_a_single_sample_where_the_right_answer_is_the_most_likely() -> None:
    world = World(depth=2, branches=4, skill=0.55)
    seeds = range(60)
    right = [
        (await solve(MajorityVote(n=15), world, task=world.task(seed=s)))[0].best.answer == world.reference
        for s in seeds
    ]
    assert world.p_right < 0.31
    assert sum(right) / len(right) > 0.6


# -- best of N ---------------------------------------------------------------------------------------------


async def test_the_highest_score_wins() -> None:
    texts = box("1", "2", "3")
    says = Says(dict(zip(texts, (0.2, 0.9, 0.5), strict=True)))
    answer, trial = await ask(BestOfN(n=3), texts, verifier=says)
    assert [c.score for c in answer.choices] == [0.9, 0.5, 0.2]
    assert (answer.best.answer, answer.confidence, trial.run.verifier_calls) == ("2", 0.9, 1)


async def test_equal_scores_go_to_the_earlier_sample() -> None:
    texts = box("3", "1", "2")
    answer, _ = await ask(BestOfN(n=3), texts, verifier=Says(dict.fromkeys(texts, 0.5)))
    assert [c.answer for c in answer.choices] == ["3", "1", "2"]


async def test_a_truncated_answer_ranks_last_whatever_its_score() -> None:
    texts = [LONG, *box("1")]
    answer, _ = await ask(BestOfN(n=2), texts, verifier=Says({LONG[:50]: 0.9, texts[1]: 0.1}))
    assert (answer.best.answer, answer.choices[1].score) == ("1", 0.9)


async def test_an_answer_that_cannot_be_read_can_still_be_the_best() -> None:
    """Best-of-N ranks texts: an essay has no final answer."""
    texts = ["an essay", *box("1")]
    answer, _ = await ask(BestOfN(n=2), texts, verifier=Says({texts[0]: 0.9, texts[1]: 0.1}))
    assert answer.best.candidate.text == "an essay"


@pytest.mark.parametrize(("how", "best"), [("min", "2"), ("last", "1"), ("product", "2"), ("mean", "1")])
async def test_step_scores_are_aggregated(how: str, best: str) -> None:
    texts = box("1", "2")
    says = Says({texts[0]: (0.1, 0.9, 0.9), texts[1]: (0.6, 0.6, 0.6)})
    answer, trial = await ask(BestOfN.model_validate({"n": 2, "aggregate": how}), texts, verifier=says)
    assert answer.best.answer == best
    node = trial.run.trace.nodes[answer.best.candidate.node]
    assert (node.score, len(node.step_scores)) == (answer.best.score, 3)


async def test_scores_missing_at_the_deadline_leave_the_order_of_sampling() -> None:
    class Late(Says):
        async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
            return [Score(value=0.0, known=False) for _ in candidates]

    answer, _ = await ask(BestOfN(n=3), [LONG, *box("1", "2")], verifier=Late({}))
    assert [c.answer for c in answer.choices] == ["1", "2", None]
    assert [c.score for c in answer.choices] == [None, None, None]
    assert answer.confidence is None


async def test_a_perfect_verifier_finds_the_right_answer_if_there_is_one() -> None:
    world = World(depth=2, skill=0.5)
    for seed in range(40):
        for strategy in (BestOfN(n=8), WeightedBestOfN(n=8)):
            verifier = ScriptedVerifier.perfect(world, kind="outcome")
            answer, _ = await solve(strategy, world, task=world.task(seed=seed), verifier=verifier)
            sampled = {c.answer for c in answer.choices}
            assert (answer.best.answer == world.reference) == (world.reference in sampled)


class Coin:
    """A verifier that tosses coins."""

    name = "coin"
    kind: VerifierKind = "outcome"

    def __init__(self) -> None:
        self.rng = random.Random(0)

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        return [Score(value=self.rng.random()) for _ in candidates]


@pytest.mark.parametrize("verifier", [ScriptedVerifier.constant(), Coin()], ids=["constant", "coin"])
async def test_a_useless_verifier_does_no_harm(verifier: Verifier) -> None:
    """With scores that know nothing, best-of-N is right as often as one sample: p = .36, 4 sigma."""
    world, n = World(depth=2, skill=0.6), 150
    found = [
        (await solve(BestOfN(n=4), world, task=world.task(seed=s), verifier=verifier))[0].best.answer
        for s in range(n)
    ]
    share = found.count(world.reference) / n
    assert abs(share - world.p_right) < 4 * (world.p_right * (1 - world.p_right) / n) ** 0.5


# -- weighted best of N ------------------------------------------------------------------------------------


async def test_scores_of_equal_answers_add_up() -> None:
    texts = ["a \\boxed{2}", "b \\boxed{1/2}", "c \\boxed{0.5}"]
    says = Says(dict(zip(texts, (0.7, 0.3, 0.5), strict=True)))
    answer, _ = await ask(WeightedBestOfN(n=3), texts, verifier=says)
    assert answer.best.answer == "1/2"
    assert answer.best.votes == pytest.approx(0.8)
    assert answer.best.candidate.text == texts[2], "the best member speaks for its group"
    assert answer.confidence == pytest.approx(0.8 / 1.5)


async def test_equal_weights_make_it_a_majority_vote() -> None:
    world = World(depth=2, silent=0.2, rambling=0.1)
    for seed in range(20):
        task, verifier = world.task(seed=seed, max_tokens=60), ScriptedVerifier.constant(1.0)
        weighted, _ = await solve(WeightedBestOfN(n=9), world, task=task, verifier=verifier)
        majority, _ = await solve(MajorityVote(n=9), world, task=task)
        assert [c.answer for c in weighted.choices] == [c.answer for c in majority.choices]


async def test_without_readable_answers_the_best_score_decides() -> None:
    answer, _ = await ask(WeightedBestOfN(n=2), ["x", "y"], verifier=Says({"x": 0.1, "y": 0.9}))
    assert (answer.best.candidate.text, answer.best.votes) == ("y", None)


async def test_worthless_votes_do_not_decide() -> None:
    texts = box("1", "2")
    answer, _ = await ask(WeightedBestOfN(n=2), texts, verifier=Says(dict.fromkeys(texts, 0.0)))
    assert (answer.best.answer, answer.confidence) == ("1", None)


# -- parameters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [MajorityVote, BestOfN, WeightedBestOfN])
@pytest.mark.parametrize("fields", [{"n": 0}, {"n": 2000}, {"n": "many"}, {"m": 5}])
def test_bad_parameters_are_refused(strategy: type[StrategyModel], fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        strategy.model_validate(fields)


@pytest.mark.parametrize("commits", [False, True])
async def test_single_is_greedy_where_told_so(commits: bool) -> None:
    for seed in range(5):
        answer, _ = await solve(Single(greedy=True), WORLD, task=WORLD.task(seed=seed), commits=commits)
        assert answer.best.answer == WORLD.reference
    with pytest.raises(InvalidRequest, match="temperature"):
        await solve(Single(greedy=True), WORLD, task=WORLD.task(n=2))
