"""Preferences put right before wrong, and labels are balanced."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mull.training.data import pairs
from mull.training.data.kinds import Choice
from mull.training.data.rows import Message, Preference, Rollout, Sample
from mull.training.data.samples import liked
from mull.training.errors import TrainingError

if TYPE_CHECKING:
    from tests.training.data.conftest import Make

samples = st.builds(
    Sample,
    text=st.text("ab \n", max_size=5),
    finish=st.sampled_from(["stop", "stop", "length"]),
    tokens=st.integers(0, 9),
    logprob=st.floats(-50, 0),
    right=st.booleans(),
    score=st.floats(0, 1),
)
rollouts = st.lists(
    st.builds(
        Rollout,
        problem=st.sampled_from("xyz"),
        prompt=st.just([Message(role="user", content="?")]),
        samples=st.lists(samples, min_size=1),
    ),
    min_size=1,
)
choices = st.sampled_from(["random", "hardest", "prefix"])
each = st.integers(1, 5)


def texts(rows: list[Preference]) -> list[tuple[str, str]]:
    return [(row.chosen[0].content, row.rejected[0].content) for row in rows]


def having(found: list[Rollout], right: bool) -> set[tuple[str | None, str]]:
    return {(r.problem, s.text) for r in found for s in r.samples if s.right is right and s.finish == "stop"}


@settings(deadline=None)
@given(rollouts, each, choices, st.integers(0, 3))
def test_right_is_preferred_to_wrong(found: list[Rollout], each: int, choose: Choice, seed: int) -> None:
    rows = pairs.preferences(found, each=each, choose=choose, seed=seed)
    made = [(row.problem, *text) for row, text in zip(rows, texts(rows), strict=True)]
    assert {(p, chosen) for p, chosen, _ in made} <= having(found, True)
    assert {(p, rejected) for p, _, rejected in made} <= having(found, False)
    assert len(set(made)) == len(made)
    assert all(count <= each for count in Counter(row.problem for row in rows).values())
    assert all(chosen.split() != rejected.split() for _, chosen, rejected in made)


@settings(deadline=None)
@given(rollouts, each, st.floats(0, 1))
def test_better_is_preferred_to_worse(found: list[Rollout], each: int, margin: float) -> None:
    rows = pairs.scored_preferences(found, each=each, margin=margin)
    for row in rows:
        scores = {s.text: s.score for r in found for s in r.samples if r.problem == row.problem}
        assert row.source is not None
        assert row.source["difference"] >= margin
        assert row.source["difference"] > 0
        assert {row.chosen[0].content, row.rejected[0].content} <= scores.keys()
    assert all(count <= each for count in Counter(row.problem for row in rows).values())


@settings(deadline=None)
@given(rollouts, each, st.integers(0, 3))
def test_labels_are_balanced(found: list[Rollout], each: int, seed: int) -> None:
    wanted = pairs.unpaired(found, each=each, seed=seed)
    assert sum(row.label for row in wanted) * 2 == len(wanted)
    outcomes = pairs.outcomes(found, each=each, seed=seed)
    verdicts = pairs.verdicts(found, each=each, seed=seed)
    assert len(outcomes) == len(verdicts)
    for problem in "xyz":
        labels = [row.label for row in outcomes if row.problem == problem]
        assert sum(labels) * 2 == len(labels) <= max(2, each)
    for row in wanted:
        assert (row.problem, row.completion[0].content) in having(found, row.label)
    for outcome in outcomes:
        assert (outcome.problem, outcome.completion[0].content) in having(found, outcome.label == 1)


def test_no_sample_is_used_again_before_all_are(rollout: Make) -> None:
    rows = pairs.preferences([rollout("p", ["a", "b"], ["w", "x", "y", "z"])], each=9)
    chosen, rejected = zip(*texts(rows), strict=True)
    assert sorted(rejected) == list("wxyz")
    assert Counter(chosen) == {"a": 2, "b": 2}


def test_the_hardest_are_likely_wrong_and_unlikely_right(rollout: Make) -> None:
    logprobs = {"a": -1.0, "b b": -6.0, "y": -2.0, "z z": -3.0}
    one = rollout("p", ["a", "b b"], ["y", "z z"])
    given = [s.model_copy(update={"logprob": logprobs[s.text]}) for s in one.samples]
    rows = pairs.preferences([one.model_copy(update={"samples": given})], choose="hardest")
    assert texts(rows) == [("b b", "z z"), ("a", "y")]
    with pytest.raises(TrainingError, match="'p' lacks `logprob`"):
        pairs.preferences([one], choose="hardest")


def test_the_longest_common_beginning_is_paired(rollout: Make) -> None:
    one = rollout("p", ["one two three", "four"], ["one two 3", "one 2", "five"])
    assert texts(pairs.preferences([one], choose="prefix")) == [
        ("one two three", "one two 3"),
        ("four", "five"),
    ]


def test_a_judge_ranks(rollout: Make) -> None:
    one = rollout("p", list("abcde"))
    scores = [0.5, 0.9, 0.1, 0.6, 0.2]
    given = [s.model_copy(update={"score": x}) for s, x in zip(one.samples, scores, strict=True)]
    scored = one.model_copy(update={"samples": given})
    assert texts(pairs.scored_preferences([scored])) == [("b", "c"), ("d", "e")]
    assert texts(pairs.scored_preferences([scored], margin=0.5)) == [("b", "c")]
    assert [s.right for s in liked([scored], margin=0.5)[0].samples] == [None, True, False, None, False]
    with pytest.raises(TrainingError, match="'p' has no `score`"):
        pairs.scored_preferences([one])


def test_problems_of_one_kind_are_of_use_unpaired_only(rollout: Make) -> None:
    found = [rollout("solved", ["a", "b"]), rollout("failed", [], ["x", "y"])]
    assert len(pairs.unpaired(found)) == 4
    assert not pairs.outcomes(found)
    assert not pairs.preferences(found)
    assert not pairs.verdicts(found)


def test_cut_off_samples_count_for_difficulty_only(rollout: Make) -> None:
    found = [rollout("p", ["a"], ["b", "c", "d"], finish="length")]
    assert pairs.preferences(found) == []
    assert [row.rate for row in pairs.difficulties(found)] == [0.25]


def test_a_verdict_follows_question_and_answer(rollout: Make) -> None:
    rows = pairs.verdicts([rollout("p", ["4"], ["5"])], question="Right?", yes="y", no="n")
    dialogues = [[m.content for m in [*(row.prompt or ()), *(row.completion or ())]] for row in rows]
    assert dialogues == [["Problem p?", "4", "Right?", "y"], ["Problem p?", "5", "Right?", "n"]]
    assert [m.role for m in rows[0].prompt or ()] == ["user", "assistant", "user"]


def test_what_nobody_judged_gives_no_rows(rollout: Make) -> None:
    unknown = [rollout("p", ["a"], ["b"], right=None)]
    for make in (pairs.preferences, pairs.unpaired, pairs.outcomes, pairs.verdicts, pairs.difficulties):
        with pytest.raises(TrainingError, match="no reference answers"):
            make(unknown)
