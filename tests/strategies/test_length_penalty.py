"""The price of length in best-of-N."""

from __future__ import annotations

import random

import pytest

from mull.strategies.base import StrategyModel
from mull.strategies.best_of_n import BestOfN, WeightedBestOfN
from mull.testing import ScriptedGenerator, ScriptedVerifier, World, solve
from mull.types import Answer, Sampling

WORLD = World()
SHORT, MIDDLE, LONG = "\\boxed{1}", "so " * 10 + "\\boxed{2}", "so " * 40 + "\\boxed{3}"
TOKENS = {text: len(text) + 1 for text in (SHORT, MIDDLE, LONG)}


async def ask(strategy: StrategyModel, scores: dict[str, float], max_tokens: int = 200) -> Answer:
    left = iter(scores)

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        return next(left)

    verifier = ScriptedVerifier(lambda text, ended: scores.get(text, 0.9), kind="outcome")
    task = WORLD.task(max_tokens=max_tokens)
    answer, _ = await solve(
        strategy, WORLD, task=task, generator=ScriptedGenerator(script), verifier=verifier
    )
    return answer


async def test_it_is_the_penalty_times_the_share_of_the_longest_answer() -> None:
    answer = await ask(BestOfN(n=3, length_penalty=0.4), {SHORT: 0.5, MIDDLE: 0.6, LONG: 0.8})
    expected = {
        "1": 0.5 - 0.4 * TOKENS[SHORT] / TOKENS[LONG],
        "2": 0.6 - 0.4 * TOKENS[MIDDLE] / TOKENS[LONG],
        "3": 0.8 - 0.4,
    }
    assert {c.answer: c.score for c in answer.choices} == pytest.approx(expected)
    assert answer.best.answer == "2"


@pytest.mark.parametrize(("penalty", "best"), [(0.0, "3"), (0.1, "3"), (0.9, "1")])
async def test_among_equals_the_short_win_and_a_better_score_can_be_worth_its_length(
    penalty: float, best: str
) -> None:
    scores = {LONG: 0.8, SHORT: 0.6, MIDDLE: 0.6}
    assert (await ask(BestOfN(n=3, length_penalty=penalty), scores)).best.answer == best
    equal = dict.fromkeys((LONG, MIDDLE, SHORT), 0.7)
    assert (await ask(BestOfN(n=3, length_penalty=penalty), equal)).best.answer == ("1" if penalty else "3")


async def test_votes_lose_weight_with_length_and_never_fall_below_nothing() -> None:
    answer = await ask(WeightedBestOfN(n=3, length_penalty=1.0), {LONG: 0.9, MIDDLE: 0.8, SHORT: 0.7})
    assert [c.answer for c in answer.choices] == ["1", "2", "3"]
    assert answer.choices[2].votes == 0.0
    assert answer.best.votes == pytest.approx(0.7 - TOKENS[SHORT] / TOKENS[LONG])


async def test_what_is_cut_off_does_not_set_the_measure() -> None:
    answer = await ask(BestOfN(n=3, length_penalty=0.4), {LONG: 0.9, MIDDLE: 0.8, SHORT: 0.8}, max_tokens=60)
    assert [c.answer for c in answer.choices] == ["1", "2", None]
    assert answer.choices[1].score == pytest.approx(0.4)
    assert answer.choices[2].score == pytest.approx(0.5)


async def test_a_sure_verifier_still_finds_the_right_answer() -> None:
    world = World(depth=3, skill=0.6)
    for seed in range(20):
        verifier = ScriptedVerifier.perfect(world, kind="outcome")
        answer, _ = await solve(
            BestOfN(n=8, length_penalty=0.5), world, task=world.task(seed=seed), verifier=verifier
        )
        sampled = {c.answer for c in answer.choices}
        assert (answer.best.answer == world.reference) == (world.reference in sampled)


@pytest.mark.parametrize("penalty", [-0.1, 1.5])
def test_bad_penalties_are_refused(penalty: float) -> None:
    with pytest.raises(ValueError, match="length_penalty"):
        BestOfN(length_penalty=penalty)
