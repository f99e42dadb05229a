"""Generative selection: what is shown, how the choice is read, and what decides when there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.select import Select
from mull.testing import Script, ScriptedGenerator, Trial, solve
from mull.types import Answer, Chat

from .talking import Overheard, Says, Talker, boxed


def selections(trial: Trial) -> int:
    return sum(node.kind == "choice" for node in trial.run.trace.nodes)


def groups(answers: int, size: int) -> int:
    """How many groups it takes at most to come down to one answer."""
    return 0 if answers < 2 else -(-answers // size) + groups(-(-answers // size), size)


async def over(world: Talker, strategy: Select, trials: int) -> list[tuple[Answer, Trial]]:
    return [await solve(strategy, world, task=world.asked(number)) for number in range(trials)]


@pytest.mark.parametrize(("group", "votes"), [(16, 1), (16, 3), (2, 1), (3, 2)])
async def test_a_perfect_judge_finds_what_is_right(group: int, votes: int) -> None:
    for answer, trial in await over(Talker(depth=2), Select(n=6, group=group, votes=votes), 60):
        answers = {choice.answer for choice in answer.choices}
        assert (answer.best.answer == "11") == ("11" in answers)
        if group >= 6:
            assert selections(trial) == votes * (len(answers) > 1)
        assert selections(trial) <= votes * groups(6, group)
        assert trial.run.budget.samples == 6 + selections(trial)


async def test_a_useless_judge_is_no_worse_than_a_sample() -> None:
    """0.25 is what a sample has: 400 trials, 4 sigma are 0.087."""
    found = await over(Talker(depth=2, judges=0.5, wordy=True), Select(n=6), 400)
    assert sum(answer.best.answer == "11" for answer, _ in found) >= (0.25 - 0.087) * 400


@pytest.mark.parametrize("place", [0, -1])
async def test_a_liking_for_a_place_does_not_decide(place: int) -> None:
    """Each of 4 answers comes first as often: 200 trials, 4 sigma are 25."""
    chosen: Counter[str | None] = Counter()
    for number in range(200):
        world = Talker(place=place, given=boxed(1, 2, 3, 4))
        answer, _ = await solve(Select(n=4), world, task=world.asked(number))
        chosen[answer.best.answer] += 1
    assert all(abs(chosen[each] - 50) <= 25 for each in "1234")


async def test_more_votes_help_a_judge_who_is_sometimes_wrong() -> None:
    world = Talker(depth=2, judges=0.8)
    once, often = [await over(world, Select(n=6, votes=votes), 150) for votes in (1, 9)]
    right = [sum(answer.best.answer == "11" for answer, _ in found) for found in (once, often)]
    assert right[1] >= right[0] + 0.05 * 150


async def test_what_can_be_read_is_shown_in_full_and_in_any_order() -> None:
    world = Talker(given=iter([r"{a} \boxed{0.5}", r"\boxed{2}", r"\boxed{1/2}", "no idea", "well " * 99]))
    script = Overheard(world)
    strategy = Select(n=5, item="<{number}> {answer}", prompt="{question} {answers} {count} {else}")
    await solve(strategy, world, generator=ScriptedGenerator(script))
    texts = [r"{a} \boxed{0.5}", r"\boxed{2}", r"\boxed{1/2}"]
    question = world.task().chat.question
    assert script.chats[5].question in [
        f"{question} <1> {a}\n\n<2> {b}\n\n<3> {c} 3 {{else}}" for a, b, c in permutations(texts)
    ]


async def test_votes_for_equal_answers_add_up() -> None:
    """Ten lists, of which it names the first each time: two of three texts give the same answer."""
    chosen = Counter[str | None]()
    for number in range(30):
        world = Talker(place=0, given=boxed(4, 111, "111.0"))
        answer, _ = await solve(Select(n=3, votes=10), world, task=world.asked(number))
        chosen[answer.best.answer] += 1
    assert chosen["111"] >= 24


async def test_texts_without_answers_are_chosen_among_as_they_are() -> None:
    world = Talker(given=iter(["A poem.", "A poem about 111.", "A poem."]))
    answer, trial = await solve(Select(n=3), world)
    assert answer.best.candidate.text == "A poem about 111."
    assert (selections(trial), answer.confidence) == (1, None)


class Fixed(Talker):
    """Says the same, whatever it is shown."""

    def _chosen(self, chat: Chat, shown: Mapping[str, str]) -> Script:
        return self.says["choice"]


@pytest.mark.parametrize("reply", ["None of them.", "", "Answer 9", "1.5", "x1", "-", "1 " * 150, "9" * 99])
async def test_a_reply_without_a_number_of_the_list_leaves_the_majority(reply: str) -> None:
    world = Fixed(given=boxed(4, 111, 5, 111), says={"choice": Says(reply)})
    answer, trial = await solve(Select(n=4), world)
    assert (answer.best.answer, answer.best.votes, answer.confidence) == ("111", 2.0, 0.5)
    assert selections(trial) == 1


@pytest.mark.parametrize(
    "reply", ["2", "Answer 2.", "**2**", "1 is wrong, so it is 2", "2, of the 3", "It is #2 (not 7)"]
)
async def test_the_last_number_of_the_list_is_the_choice(reply: str) -> None:
    seen = set()
    for number in range(6):
        world = Fixed(given=boxed(4, 5), says={"choice": Says(reply)})
        script = Overheard(world)
        answer, _ = await solve(
            Select(n=2), world, task=world.asked(number), generator=ScriptedGenerator(script)
        )
        shown = script.chats[2].question
        second = max("45", key=lambda each: shown.index(f"boxed{{{each}}}"))
        assert answer.best.answer == second
        seen.add(second)
    assert seen == {"4", "5"}, "the order is drawn anew"


async def test_what_does_not_fit_is_chosen_from_in_smaller_groups() -> None:
    texts = [f"{'so ' * 20}\\boxed{{{answer}}}" for answer in (2, 3, 4, 5, 6, 7, 111, 8)]
    world = Talker(given=iter(texts))
    # Three answers of 70 tokens with the question fit 400 tokens, of which a quarter is for the reply.
    engine = ScriptedGenerator(world, context=440)
    answer, trial = await solve(Select(n=8), world, generator=engine)
    assert (answer.best.answer, trial.run.stopped) == ("111", "complete")
    assert 4 <= selections(trial) <= 7


async def test_what_fits_not_even_in_pairs_leaves_the_majority() -> None:
    world = Talker(given=boxed(4, 111, 111))
    answer, trial = await solve(Select(n=3), world, generator=ScriptedGenerator(world, context=100))
    assert (answer.best.answer, selections(trial), trial.run.stopped) == ("111", 0, "complete")


async def test_a_budget_for_the_answers_alone_leaves_the_majority() -> None:
    world = Talker(given=boxed(4, 111, 111))
    answer, trial = await solve(Select(n=3), world, limits=Limits(samples=3))
    assert (answer.best.answer, trial.run.stopped) == ("111", "samples")


async def test_one_answer_needs_no_choice() -> None:
    world = Talker(given=boxed(4, 4, 4))
    answer, trial = await solve(Select(n=3), world)
    assert (selections(trial), answer.confidence) == (0, 1.0)


@pytest.mark.parametrize(
    "fields", [{"n": 0}, {"group": 1}, {"votes": 0}, {"item": "{number}"}, {"prompt": "{question}"}]
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Select.model_validate(fields)
