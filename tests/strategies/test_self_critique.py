"""Self-critique: what is said, when it ends, what it costs, and that no answer is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.self_critique import CRITIQUE, REVISE, SelfCritique
from mull.testing import ScriptedGenerator, Trial, solve
from mull.types import Answer

from .talking import Overheard, Says, Talker, boxed, told

WRONG = r"so \boxed{5}"


def kinds(trial: Trial) -> list[str]:
    return [node.kind for node in trial.run.trace.nodes[1:]]


def texts(answer: Answer) -> list[str]:
    return [choice.candidate.text for choice in answer.choices]


async def accuracy(world: Talker, strategy: SelfCritique, trials: int) -> float:
    found = [await solve(strategy, world, task=world.asked(number)) for number in range(trials)]
    return sum(answer.best.answer == world.reference for answer, _ in found) / trials


async def test_a_perfect_critic_and_writer_are_right_at_once() -> None:
    world = Talker()
    for number in range(30):
        answer, trial = await solve(SelfCritique(), world, task=world.asked(number))
        assert answer.best.answer == world.reference
        first_right = len(answer.choices) == 1
        assert trial.run.budget.samples == (2 if first_right else 4)
        assert trial.run.stopped == "complete"


async def test_each_round_has_its_chance() -> None:
    """Wrong after three rounds only if the first answer and all revisions are: 1 - 0.75 / 2^3 = 0.906.

    400 trials: 4 sigma are 0.058; two rounds would give 0.81.
    """
    found = await accuracy(Talker(depth=2, revises=0.5), SelfCritique(), 400)
    assert found == pytest.approx(0.906, abs=0.058)


async def test_with_a_useless_critic_a_revision_is_one_more_sample() -> None:
    """0.25 of the first answers are right, and as many revisions: 400 trials, 4 sigma are 0.087."""
    found = await accuracy(Talker(depth=2, judges=0.5, revises=0.25), SelfCritique(), 400)
    assert found >= 0.25 - 0.087


async def test_a_round_is_a_conversation_about_the_latest_version() -> None:
    world = Talker(given=iter([WRONG]), says={REVISE: Says(r"{now} \boxed{6}")})
    script = Overheard(world)
    answer, trial = await solve(SelfCritique(rounds=2), world, generator=ScriptedGenerator(script))
    question = told(world.task().chat)
    criticised = [*question, f"a: {WRONG}", f"u: {CRITIQUE}"]
    later = [*question, r"a: {now} \boxed{6}", f"u: {CRITIQUE}"]
    assert [told(chat) for chat in script.chats] == [
        question,
        criticised,
        [*criticised, "a: Line 1 is wrong.", f"u: {REVISE}"],
        later,
        [*later, "a: Line 1 is wrong.", f"u: {REVISE}"],
    ]
    assert kinds(trial) == ["sample", "critique", "revision", "critique", "revision"]
    assert texts(answer)[-1] == WRONG


async def test_it_ends_when_the_rounds_are_over() -> None:
    world = Talker(revises=0.0, given=iter([WRONG]))
    answer, trial = await solve(SelfCritique(rounds=3), world)
    assert (trial.run.budget.samples, trial.run.stopped, len(answer.choices)) == (7, "complete", 4)
    assert len(texts(answer)[0]) > len(texts(answer)[1]) > len(texts(answer)[3]), "latest first"


async def test_a_repeated_version_ends_it() -> None:
    world = Talker(says={CRITIQUE: Says("Hm.")}, given=boxed(111))
    answer, trial = await solve(SelfCritique(rounds=9), world)
    assert (trial.run.budget.samples, trial.run.stopped) == (5, "fixed_point")
    assert [choice.answer for choice in answer.choices] == ["111"] * 3


@pytest.mark.parametrize("said", ["", "  \n"])
async def test_an_empty_critique_objects_to_nothing(said: str) -> None:
    world = Talker(given=iter([WRONG]), says={CRITIQUE: Says(said)})
    answer, trial = await solve(SelfCritique(), world)
    assert (texts(answer), trial.run.budget.samples, trial.run.stopped) == ([WRONG], 2, "complete")


@pytest.mark.parametrize("said", ["All correct.", "Step 1 holds.\nSo ALL CORRECT", "all correct"])
async def test_acceptance_is_found_in_any_case(said: str) -> None:
    world = Talker(given=iter([WRONG]), says={CRITIQUE: Says(said)})
    answer, trial = await solve(SelfCritique(), world)
    assert (texts(answer), trial.run.budget.samples) == ([WRONG], 2)
    assert trial.run.trace.nodes[answer.best.candidate.node].data == {"accepted": True}


async def test_other_wordings_can_be_asked_for() -> None:
    world = Talker(given=iter([WRONG]), says={"Well?": Says("Fine!"), "All correct": Says("not asked")})
    _, trial = await solve(SelfCritique(critique="Well?", accept="fine"), world)
    assert trial.run.budget.samples == 2


@pytest.mark.parametrize("revision", ["I do not know.", "well " * 99, ""])
async def test_unreadable_revisions_do_not_take_the_place_of_an_answer(revision: str) -> None:
    world = Talker(given=iter([WRONG]), says={REVISE: Says(revision)})
    answer, trial = await solve(SelfCritique(), world)
    assert (texts(answer)[0], answer.best.answer) == (WRONG, "5")
    assert trial.run.stopped == "fixed_point"


async def test_where_nothing_can_be_read_the_latest_version_counts() -> None:
    """Free texts have no final answer."""
    world = Talker(given=iter(["A poem."]), says={REVISE: Says("A better poem.")})
    answer, _ = await solve(SelfCritique(rounds=1), world)
    assert texts(answer) == ["A better poem.", "A poem."]


@pytest.mark.parametrize(("samples", "made"), [(1, [WRONG]), (2, [WRONG]), (3, None)])
async def test_a_spent_budget_leaves_the_latest_version(samples: int, made: list[str] | None) -> None:
    world = Talker(given=iter([WRONG]))
    answer, trial = await solve(SelfCritique(), world, limits=Limits(samples=samples))
    assert trial.run.stopped == "samples"
    assert texts(answer) == made or answer.best.answer == "111"


@pytest.mark.parametrize("context", [80, 130])
async def test_what_does_not_fit_the_context_is_left_out(context: int) -> None:
    world = Talker(given=iter([WRONG]))
    answer, trial = await solve(SelfCritique(), world, generator=ScriptedGenerator(world, context=context))
    assert (texts(answer), trial.run.stopped) == ([WRONG], "complete")
    assert kinds(trial)[-1] == "too_long"


async def test_an_inner_strategy_gives_the_first_answer_and_its_candidates_stay() -> None:
    world = Talker(given=boxed(4, 5, 5))
    strategy = SelfCritique.model_validate({"inner": {"strategy": "majority_vote", "n": 3}})
    answer, trial = await solve(strategy, world)
    assert [choice.answer for choice in answer.choices] == ["111", "5", "5", "4"]
    assert [choice.votes for choice in answer.choices] == [None, 2.0, 2.0, 1.0]
    assert (answer.confidence, trial.run.budget.samples) == (None, 6)


async def test_an_accepted_first_answer_keeps_its_confidence() -> None:
    world = Talker(given=boxed(111, 5, 111, 111))
    strategy = SelfCritique.model_validate({"inner": {"strategy": "majority_vote", "n": 4}})
    answer, _ = await solve(strategy, world)
    assert (answer.best.answer, answer.best.votes, answer.confidence) == ("111", 3.0, 0.75)


async def test_critiques_are_free_of_what_shapes_answers() -> None:
    world = Talker(given=iter([WRONG]))
    task = world.task()
    shaped = replace(task.sampling, stop=("##",), extra={"min_tokens": 5})
    _, trial = await solve(SelfCritique(), world, task=replace(task, sampling=shaped))
    assert [bool(s.stop) for s in trial.generator.seen] == [bool(s.extra) for s in trial.generator.seen]
    assert [bool(s.stop) for s in trial.generator.seen] == [True, False, True, False]


@pytest.mark.parametrize(
    "fields", [{"rounds": 0}, {"rounds": 99}, {"critique": ""}, {"accept": ""}, {"inner": "nobody"}, {"n": 2}]
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        SelfCritique.model_validate(fields)
