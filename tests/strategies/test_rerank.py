"""Reranking: ratings and pairs by the model, their cost, and judges with a liking for a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.rerank import Rerank
from mull.testing import Script, ScriptedGenerator, Trial, solve
from mull.types import Answer, Chat

from .talking import RATE, Overheard, Says, Talker, Verdict, boxed, told

WAYS: list[dict[str, Any]] = [
    {"method": "p_true"},
    {"method": "rating"},
    {"method": "pairwise"},
    {"method": "pairwise", "tournament": "round_robin"},
]


def asked(trial: Trial) -> int:
    return sum(node.kind in ("verdict", "rating") for node in trial.run.trace.nodes)


async def over(world: Talker, strategy: Any, trials: int) -> list[tuple[Answer, Trial]]:
    return [await solve(strategy, world, task=world.asked(number)) for number in range(trials)]


def most(fields: dict[str, Any], n: int) -> int:
    """How much is asked when all answers differ."""
    if fields["method"] != "pairwise":
        return n
    return n * (n - 1) if "tournament" in fields else 2 * (n - 1)


@pytest.mark.parametrize("fields", WAYS)
async def test_a_perfect_judge_finds_what_is_right_at_the_known_cost(fields: dict[str, Any]) -> None:
    for answer, trial in await over(Talker(depth=2, wordy=True), Rerank(n=6, **fields), 80):
        answers = {choice.answer for choice in answer.choices}
        assert (answer.best.answer == "11") == ("11" in answers)
        if len(answers) == 6:
            assert asked(trial) == most(fields, 6)
        assert (len(answers) > 1 or fields["method"] != "pairwise") >= (asked(trial) > 0)
        assert trial.run.budget.samples == 6 + asked(trial) <= 6 + most(fields, 6)


@pytest.mark.parametrize("fields", WAYS)
async def test_a_useless_judge_is_no_worse_than_a_sample(fields: dict[str, Any]) -> None:
    """0.25 is what a sample has: 200 trials, 4 sigma are 0.122."""
    found = await over(Talker(depth=2, judges=0.5, wordy=True), Rerank(n=5, **fields), 200)
    assert sum(answer.best.answer == "11" for answer, _ in found) >= (0.25 - 0.122) * 200


@pytest.mark.parametrize("fields", WAYS[2:])
@pytest.mark.parametrize("place", [0, 1])
async def test_a_liking_for_a_place_leaves_the_majority(fields: dict[str, Any], place: int) -> None:
    world = Talker(depth=2, place=place)
    biased = await over(world, Rerank(n=6, **fields), 40)
    plain = await over(world, MajorityVote(n=6), 40)
    assert [a.best.answer for a, _ in biased] == [a.best.answer for a, _ in plain]
    assert any(len({c.answer for c in a.choices}) > 2 for a, _ in biased)


async def test_a_judge_with_a_liking_and_an_opinion_is_heard() -> None:
    """It is drawn to the first place: its odds of 0.9 and 0.1 become 0.95 and 0.55."""

    class Leaning(Talker):
        def _chosen(self, chat: Chat, shown: Mapping[str, str]) -> Script:
            odds = super()._chosen(chat, shown)
            assert isinstance(odds, Verdict)
            return Verdict({"A": odds.letters["A"] / 2 + 0.5, "B": odds.letters["B"] / 2})

    world = Leaning(given=boxed(5, 6, 111, 5))
    answer, trial = await solve(Rerank(n=4), world)
    assert answer.best.answer == "111"
    preferences = [n.data["preference"] for n in trial.run.trace.nodes if n.kind == "pair"]
    # Both wrong answers are liked as little: even. Then the first 5 meets what is right.
    assert preferences == pytest.approx([0.5, 0.3, 0.3])


async def test_pairs_are_shown_in_both_orders() -> None:
    world = Talker(given=iter([r"{a} \boxed{5}", r"{second} \boxed{6}"]))
    script = Overheard(world)
    strategy = Rerank(n=2, compare="{question} 1: {first} 2: {second} {else}", first="1", second="2")
    await solve(strategy, world, generator=ScriptedGenerator(script))
    question, a, b = world.task().chat.question, r"{a} \boxed{5}", r"{second} \boxed{6}"
    assert [chat.question for chat in script.chats[2:]] == [
        f"{question} 1: {a} 2: {b} {{else}}",
        f"{question} 1: {b} 2: {a} {{else}}",
    ]


async def test_a_preference_known_from_one_order_alone_is_none() -> None:
    world = Talker(given=boxed(5, 111))
    for samples, best in ((2, "5"), (3, "5"), (4, "111")):
        world = Talker(given=boxed(5, 111))
        answer, trial = await solve(Rerank(n=2), world, limits=Limits(samples=samples))
        assert answer.best.answer == best
        assert trial.run.stopped == ("complete" if samples == 4 else "samples")


@pytest.mark.parametrize("fields", WAYS)
async def test_chats_longer_than_the_context_leave_the_majority(fields: dict[str, Any]) -> None:
    world = Talker(given=boxed(4, 111, 111))
    answer, trial = await solve(Rerank(n=3, **fields), world, generator=ScriptedGenerator(world, context=70))
    assert (answer.best.answer, asked(trial), trial.run.stopped) == ("111", 0, "complete")


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("8", 0.8),
        ("8/10", 0.8),
        ("I give 7.5 out of 10.", 0.75),
        ("From 0 to 10: 0", 0.0),
        ("10", 1.0),
        ("Line 3 is wrong: 2", 0.2),
        ("11", None),
        ("good", None),
        ("", None),
    ],
)
async def test_ratings_are_read(reply: str, score: float | None) -> None:
    world = Talker(given=boxed(4), says={RATE: Says(reply)})
    answer, _ = await solve(Rerank(n=1, method="rating"), world)
    assert answer.best.score == (None if score is None else pytest.approx(score))


async def test_ratings_are_asked_for_greedily_on_the_given_scale() -> None:
    world = Talker(given=boxed(4))
    script = Overheard(world)
    engine = ScriptedGenerator(script)
    await solve(Rerank(n=1, method="rating", scale=5, rate="0 to {scale}, {please}"), world, generator=engine)
    assert told(script.chats[1])[1:] == [r"a: so \boxed{4}", "u: 0 to 5, {please}"]
    assert (engine.seen[1].temperature, engine.seen[1].max_tokens) == (0.0, 200)


async def test_equal_answers_share_their_score_and_stay_together() -> None:
    world = Talker(given=boxed(5, 111, 5, "111.0"))
    answer, _ = await solve(Rerank(n=4, method="p_true"), world)
    assert [choice.answer for choice in answer.choices] == ["111", "111", "5", "5"]
    assert [choice.score for choice in answer.choices] == pytest.approx([0.9, 0.9, 0.2, 0.2])
    assert (answer.best.votes, answer.confidence) == (2.0, 0.5)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 0},
        {"method": "guess"},
        {"tournament": "swiss"},
        {"scale": 0},
        {"compare": "{first} or what?"},
        {"check": ""},
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Rerank.model_validate(fields)
