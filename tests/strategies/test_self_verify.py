"""Self-verification: whose checks count for what, what it costs, and what an unreliable judge does."""

from __future__ import annotations

from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.self_verify import SelfVerify
from mull.strategies.verdict import CHECK
from mull.testing import ScriptedGenerator, Trial, solve
from mull.types import Answer

from .talking import Overheard, Talker, Verdict, boxed, told


def checks(trial: Trial) -> int:
    return sum(node.kind == "verdict" for node in trial.run.trace.nodes)


async def over(world: Talker, strategy: Any, trials: int) -> list[tuple[Answer, Trial]]:
    return [await solve(strategy, world, task=world.asked(number)) for number in range(trials)]


@pytest.mark.parametrize("fields", [{}, {"vote": True}, {"checks": "answer"}, {"checks": "both"}])
async def test_a_perfect_judge_finds_what_is_right(fields: dict[str, Any]) -> None:
    """One of 6 is right with 1 - 0.75^6 = 0.82; 100 trials: 4 sigma are 0.15."""
    world, right = Talker(depth=2), 0
    for answer, trial in await over(world, SelfVerify(n=6, **fields), 100):
        able = any(choice.answer == world.reference for choice in answer.choices)
        if "vote" not in fields:
            assert (answer.best.answer == world.reference) == able
        right += answer.best.answer == world.reference
        assert trial.run.budget.samples == 6 + checks(trial)
        assert checks(trial) <= (12 if fields.get("checks") == "both" else 6)
    assert right >= 0.67 * 100


async def test_a_useless_judge_does_no_harm() -> None:
    """A sample is right with 0.25, and so is one picked at random: 400 trials, 4 sigma are 0.087."""
    world = Talker(depth=2, judges=0.5, wordy=True)
    found = await over(world, SelfVerify(n=6), 400)
    assert sum(a.best.answer == world.reference for a, _ in found) >= (0.25 - 0.087) * 400


async def test_with_votes_a_useless_judge_leaves_most_of_the_majority() -> None:
    """A sample is right with 0.56, a vote of 12 with 0.93, one with such random weights with 0.75."""
    world = Talker(depth=2, judges=0.5, skill=0.75)
    found = await over(world, SelfVerify(n=12, vote=True), 150)
    assert sum(a.best.answer == world.reference for a, _ in found) >= 0.6 * 150


@pytest.mark.parametrize(
    ("fields", "best", "score"),
    [
        ({}, "111", 0.9),
        ({"checks": "answer"}, "111", 0.9),
        ({"checks": "both"}, "111", 0.81),
        ({"vote": True}, "2", 0.2),
        ({"vote": True, "checks": "both"}, "111", 0.81),
    ],
)
async def test_probabilities_decide_alone_or_added_up(
    fields: dict[str, Any], best: str, score: float
) -> None:
    """The right answer has 0.9 alone, each of the five wrong ones 0.2: 0.81 and 0.04 after two checks."""
    world = Talker(given=boxed(2, 2, 111, 2, 2, 2))
    answer, trial = await solve(SelfVerify(n=6, **fields), world)
    assert answer.best.answer == best
    assert answer.best.score == pytest.approx(score)
    assert trial.run.trace.nodes[answer.best.candidate.node].score == pytest.approx(score)
    votes = {"2": 1.0, "111": 0.9} if fields == {"vote": True} else {"2": 0.2, "111": 0.81}
    if "vote" in fields:
        assert {c.answer: pytest.approx(c.votes) for c in answer.choices} == votes
        assert answer.confidence == pytest.approx(max(votes.values()) / sum(votes.values()))
    else:
        assert answer.confidence == pytest.approx(score)


async def test_what_is_checked_is_the_proof_or_the_answer_put_back() -> None:
    world = Talker(given=iter([r"one, so \boxed{111}", r"again \boxed{111.0}"]))
    script = Overheard(world)
    strategy = SelfVerify(n=2, checks="both", statement="It is {answer}, {not} that.")
    await solve(strategy, world, generator=ScriptedGenerator(script))
    question = told(world.task().chat)
    asked = [told(chat)[1:] for chat in script.chats[2:]]
    assert told(script.chats[0]) == question
    assert asked == [
        [r"a: one, so \boxed{111}", f"u: {CHECK}"],
        ["a: It is 111, {not} that.", f"u: {CHECK}"],
        [r"a: again \boxed{111.0}", f"u: {CHECK}"],
    ], "equal answers are put back once"


async def test_what_cannot_be_read_is_checked_as_it_is() -> None:
    world = Talker(given=iter(["no idea", "none"]))
    script = Overheard(world)
    answer, _ = await solve(SelfVerify(n=2, checks="both"), world, generator=ScriptedGenerator(script))
    assert [told(chat)[1] for chat in script.chats[2:]] == ["a: no idea", "a: none"]
    assert answer.best.score == pytest.approx(0.04)


async def test_what_is_cut_off_is_not_checked() -> None:
    world = Talker(given=iter(["well " * 99, *boxed(2)]))
    answer, trial = await solve(SelfVerify(n=2), world)
    assert (checks(trial), answer.best.answer, answer.choices[1].score) == (1, "2", None)


@pytest.mark.parametrize("vote", [False, True])
async def test_without_any_verdict_the_majority_wins(vote: bool) -> None:
    mute = Talker(given=boxed(5, 111, 111), says={CHECK: Verdict({"M": 1.0})})
    answer, _ = await solve(SelfVerify(n=3, vote=vote), mute)
    assert answer.best.answer == "111"


async def test_checks_longer_than_the_context_leave_the_majority() -> None:
    world = Talker(given=boxed(5, 111, 111))
    answer, trial = await solve(SelfVerify(n=3), world, generator=ScriptedGenerator(world, context=70))
    assert (answer.best.answer, checks(trial), trial.run.stopped) == ("111", 0, "complete")


async def test_a_budget_for_the_answers_alone_leaves_the_majority() -> None:
    world = Talker(given=boxed(5, 111, 111))
    answer, trial = await solve(SelfVerify(n=3), world, limits=Limits(samples=3))
    assert (answer.best.answer, trial.run.stopped) == ("111", "samples")


async def test_other_words_can_be_asked_for() -> None:
    world = Talker(given=boxed(5, 111), says={"Is it?": Verdict({"w": 0.6, "f": 0.2})})
    answer, _ = await solve(SelfVerify(n=2, check="Is it?", good="wahr", bad="falsch"), world)
    assert answer.best.score == pytest.approx(0.75)


@pytest.mark.parametrize(
    "fields",
    [{"n": 0}, {"checks": "none"}, {"check": ""}, {"statement": "It is so."}, {"good": ""}, {"rounds": 2}],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        SelfVerify.model_validate(fields)
