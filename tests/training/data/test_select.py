"""Demonstrations are distinct right samples, and hints leave no trace in them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mull.training.data.rows import Message, Problem, Rollout, Sample, Sft
from mull.training.data.select import hinted, rationalised, select
from mull.training.errors import TrainingError

if TYPE_CHECKING:
    from tests.training.data.conftest import Make


def texts(rows: list[Sft]) -> list[str]:
    return [turn.content for row in rows for turn in row.completion or ()]


samples = st.builds(
    Sample,
    text=st.sampled_from(["", " ", "a", "A", "b", "b ", "c", "d"]),
    finish=st.sampled_from(["stop", "length"]),
    tokens=st.integers(0, 9),
    right=st.sampled_from([True, False, None]),
)
rollouts = st.lists(
    st.builds(
        Rollout,
        problem=st.sampled_from("xyz"),
        prompt=st.just([Message(role="user", content="?")]),
        samples=st.lists(samples),
    )
)


@settings(deadline=None)
@given(rollouts, st.integers(1, 4), st.booleans(), st.integers(0, 9))
def test_only_right_finished_distinct_samples(
    found: list[Rollout], each: int, hard_first: bool, seed: int
) -> None:
    known = [(r.problem, s) for r in found for s in r.samples]
    if all(s.right is None for _, s in known):
        with pytest.raises(TrainingError, match="no reference answers"):
            select(found, each=each, hard_first=hard_first, seed=seed)
        return
    rows = select(found, each=each, hard_first=hard_first, seed=seed)
    usable = {(p, s.text) for p, s in known if s.right and s.finish == "stop" and s.text.strip()}
    made = [(row.problem, text) for row, text in zip(rows, texts(rows), strict=True)]
    assert set(made) <= usable
    normal = Counter((p, " ".join(text.split()).casefold()) for p, text in made)
    assert not normal or max(normal.values()) == 1
    assert all(count <= each for count in Counter(p for p, _ in made).values())
    assert {p for p, _ in made} == {p for p, _ in usable}
    assert rows == select(found, each=each, hard_first=hard_first, seed=seed)


def test_orders(rollout: Make) -> None:
    one = rollout("p", ["a b c", "a", "a b"])
    likely = one.model_copy(
        update={
            "samples": [
                s.model_copy(update={"logprob": p}) for s, p in zip(one.samples, (-1.5, -1, -3), strict=True)
            ]
        }
    )
    assert texts(select([one], each=2, order="shortest")) == ["a", "a b"]
    assert texts(select([likely], order="likeliest")) == ["a b c", "a", "a b"]
    assert len({tuple(texts(select([one], order="random", seed=n))) for n in range(30)}) == 6
    with pytest.raises(TrainingError, match="'p' lacks `logprob`"):
        select([one], order="likeliest")


def test_another_problem_changes_no_choice(rollout: Make) -> None:
    one, other = rollout("p", list("abcdef")), rollout("q", list("abcdef"))
    assert select([other, one], each=2)[2:] == select([one], each=2)


def test_hard_problems_come_first_and_give_more(rollout: Make) -> None:
    easy = rollout("easy", list("abcdefgh"))
    middle = rollout("middle", list("abcd"), list("wxyz"))
    hard = rollout("hard", ["a", "b"], [f"wrong {n}" for n in range(30)])
    rows = select([easy, middle, hard], each=4, hard_first=True)
    assert [row.problem for row in rows] == ["hard"] * 2 + ["middle"] * 2 + ["easy"]
    assert [row.problem for row in select([easy, middle, hard], hard_first=True, limit=3)] == [
        "hard",
        "hard",
        "middle",
    ]


def test_rounds_of_a_problem_are_merged(rollout: Make) -> None:
    rows = select([rollout("p", ["a"], ["z"]), rollout("p", ["a", "b"])], each=9)
    assert sorted(texts(rows)) == ["a", "b"]
    assert rows[0].source == {"kind": "sample", "rollout": {"seed": 1}, "rate": 0.75}
    other = rollout("q").model_copy(update={"problem": "p"})
    with pytest.raises(TrainingError, match="'p' have different prompts"):
        select([rollout("p", ["a"]), other])


def test_a_teacher_may_be_believed(rollout: Make) -> None:
    unknown = rollout("p", ["a"], ["b"], right=None)
    assert sorted(texts(select([unknown], right=False))) == ["a", "b"]


def test_hints_are_for_what_was_not_solved(rollout: Make) -> None:
    problems = [
        Problem(
            id=name, prompt=[Message(role="user", content=rf"{name} {{answer}} \boxed{{}}?")], answer=answer
        )
        for name, answer in (("solved", "1"), ("failed", r"\frac{1}{2}"), ("unknown", None), ("new", "3"))
    ]
    found = hinted(problems, [rollout("solved", ["a"], ["b"]), rollout("failed", [], ["b"])])
    assert [problem.id for problem in found] == ["failed", "new"]
    assert found[0].prompt[0].content == r"failed {answer} \boxed{}? (The answer is \frac{1}{2}.)"
    with pytest.raises(TrainingError, match=r"no \{answer\}"):
        hinted(problems, [], "{question}, please")


def test_a_hint_goes_into_the_last_message_of_the_user() -> None:
    prompt = [Message(role=role, content=text) for role, text in (("system", "s"), ("user", "u"))]
    [found] = hinted([Problem(id="a", prompt=prompt, answer="4")], [], "{answer}! {question}")
    assert [message.content for message in found.prompt] == ["s", "4! u"]


def test_hints_leave_no_trace(rollout: Make) -> None:
    first = [rollout("solved", ["a"]), rollout("failed", [], ["b", "c"])]
    hint = [Message(role="user", content="Hint!")]
    second = [
        rollout(name, ["x"], ["y"]).model_copy(update={"prompt": hint})
        for name in ("solved", "failed", "unseen")
    ]
    merged = rationalised(first, second)
    assert merged[0] == first[0]
    assert [(s.text, s.right) for s in merged[1].samples] == [("b", False), ("c", False), ("x", True)]
    rows = select(merged)
    assert [(row.problem, text) for row, text in zip(rows, texts(rows), strict=True)] == [
        ("solved", "a"),
        ("failed", "x"),
    ]
    assert [row.prompt for row in rows] == [r.prompt for r in first]
    assert rows[1].source is not None
    assert rows[1].source["rollout"]["kind"] == "rationalised"
