"""Diverse verifier tree search: separate trees, the best step of each, all that finished."""

from __future__ import annotations

import pytest

from mull.budget import Limits
from mull.strategies.dvts import DVTS

from .searching import depths, search, texts


async def test_each_tree_keeps_its_best_step_and_no_other_tree_can_take_its_place() -> None:
    """One tree is far better than the other; beam search of width 2 would give it both places."""
    paths = [f"{a}\n{b}\n\\boxed{{{a}{b}}}" for a in "1234" for b in "12"]
    rates = {"1": 0.9, "2": 0.8, "3": 0.3, "4": 0.2}
    answer, trial = await search(DVTS(n=4, width=2), paths, rates)
    assert texts(trial, pruned=True)[:2] == ["2\n", "4\n"]
    assert {c.answer for c in answer.choices} == {"11", "12", "31", "32"} & {c.answer for c in answer.choices}
    assert {c.candidate.text[0] for c in answer.choices} == {"1", "3"}


async def test_the_first_level_is_one_call_and_every_later_one_a_call_a_tree() -> None:
    _, trial = await search(DVTS(n=6, width=2), [f"{a}\nx\n\\boxed{{{a}}}" for a in "123456"], {})
    assert trial.generator.calls == 1 + 3 + 3
    assert [depths(trial).count(level) for level in (1, 2, 3)] == [6, 6, 6]


async def test_equal_steps_are_merged_within_a_tree_but_not_across() -> None:
    answer, trial = await search(DVTS(n=6, width=3), ["a\n\\boxed{1}"], {})
    assert texts(trial, merged=True) == ["a\n"] * 4 + ["\\boxed{1}"] * 4
    assert len(answer.choices) == 2, "two trees have found it by themselves"
    assert answer.best.votes == pytest.approx(1.0)


async def test_a_finished_sibling_of_the_best_step_is_not_lost() -> None:
    paths = ["short \\boxed{1}", "a\n\\boxed{2}"]
    answer, _ = await search(
        DVTS(n=2, width=2), paths, {"a": 0.9, "\\boxed{2}": 0.9, "short \\boxed{1}": 0.6}
    )
    assert [c.answer for c in answer.choices] == ["2", "1"]


async def test_a_tree_ends_with_its_best_step_that_ends_an_answer() -> None:
    paths = ["short \\boxed{1}", "a\n\\boxed{2}"]
    answer, trial = await search(DVTS(n=2, width=2), paths, {"a": 0.2, "short \\boxed{1}": 0.6})
    assert [c.answer for c in answer.choices] == ["1"]
    assert max(depths(trial)) == 1


async def test_the_vote_and_the_score_can_differ() -> None:
    paths = ["a \\boxed{1}", "b \\boxed{2}", "c \\boxed{2}"]
    rates = {"a \\boxed{1}": 0.9, "b \\boxed{2}": 0.6, "c \\boxed{2}": 0.6}
    voted, _ = await search(DVTS(n=3, width=1), paths, rates)
    scored, _ = await search(DVTS(n=3, width=1, final="score"), paths, rates)
    assert (voted.best.answer, scored.best.answer) == ("2", "1")
    assert voted.confidence == pytest.approx(1.2 / 2.1)
    assert scored.confidence == 0.9


async def test_a_tree_for_which_the_budget_leaves_nothing_keeps_what_it_has() -> None:
    paths = [f"{a}\nb\n\\boxed{{{a}}}" for a in "12"]
    answer, trial = await search(DVTS(n=2, width=1), paths, {}, limits=Limits(samples=3))
    assert trial.run.stopped == "samples"
    assert sorted(c.candidate.text for c in answer.choices) == ["1\nb\n", "2\n"]


@pytest.mark.parametrize(("n", "width"), [(6, 4), (2, 4)])
def test_n_is_a_multiple_of_width(n: int, width: int) -> None:
    with pytest.raises(ValueError, match="multiple of width"):
        DVTS(n=n, width=width)
