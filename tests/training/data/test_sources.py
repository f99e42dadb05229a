"""Where problems come from, and splits that stay when rows are added."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mull.training.bundled.problems import generate, to_row
from mull.training.data.problems import ProblemSource, load, split
from mull.training.data.rows import Message, Outcome, Problem, assistant, write
from mull.training.errors import TrainingError

PROMPT = [Message(role="user", content="?")]


def problem(name: str) -> Problem:
    return Problem(id=name, prompt=PROMPT)


def source(**fields: Any) -> ProblemSource:
    return ProblemSource.model_validate(fields)


def test_the_bundled_task_is_generated() -> None:
    asked = {"seed": 7, "count": 3, "start": 2, "min_steps": 3, "max_steps": 4}
    rows = [to_row(p) for p in generate(7, 3, start=2, min_steps=3, max_steps=4)]
    found = load(source(generate=asked))
    assert [p.id for p in found] == ["7-2", "7-3", "7-4"]
    assert [p.prompt[0].content for p in found] == [row["question"] for row in rows]
    assert [p.model_dump(exclude={"prompt", "problem", "source"}) for p in found] == rows


def test_a_file_keeps_all_fields(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    rows = load(source(generate={"seed": 7, "count": 3}))
    write(path, rows)
    assert load(source(file=path)) == rows
    assert load(source(file=path, limit=2)) == rows[:2]


@pytest.mark.parametrize(
    ("names", "message"), [([], "holds no problem"), (["a", "b", "a"], "two problems have the id 'a'")]
)
def test_files_that_cannot_be_trained_on(names: list[str], message: str, tmp_path: Path) -> None:
    write(tmp_path / "problems.jsonl", map(problem, names))
    with pytest.raises(TrainingError, match=message):
        load(source(file=tmp_path / "problems.jsonl"))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"file": "a", "generate": {"seed": 1, "count": 1}},
        {"generate": {"seed": 1, "count": 1}, "limit": 1},
        {"generate": {"seed": 1, "count": 1, "min_steps": 5, "max_steps": 4}},
        {"generate": {"seed": 1, "count": 1, "max_steps": 11}},
        {"file": "a", "other": 1},
    ],
)
def test_a_source_is_one_thing(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source(**fields)


names = st.lists(st.text(min_size=1), unique=True)
shares = st.floats(0, 1)


@settings(deadline=None)
@given(names, st.integers(), shares)
def test_a_split_loses_nothing_and_keeps_the_order(ids: list[str], seed: int, share: float) -> None:
    kept, held_out = split(map(problem, ids), seed, share)
    assert [p.id for p in kept] == [i for i in ids if problem(i) in kept]
    assert sorted(p.id for p in kept + held_out) == sorted(ids)


@settings(deadline=None)
@given(names, names, st.integers(), shares)
def test_added_rows_move_none(ids: list[str], more: list[str], seed: int, share: float) -> None:
    held_out = split(map(problem, ids), seed, share)[1]
    of_all = split(map(problem, sorted({*ids, *more})), seed, share)[1]
    assert [p for p in held_out if p not in of_all] == []
    assert {p.id for p in of_all} & set(ids) == {p.id for p in held_out}


@settings(deadline=None)
@given(names, st.integers(), shares, shares)
def test_a_larger_share_holds_out_the_same_and_more(
    ids: list[str], seed: int, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    held_out = [p.id for p in split(map(problem, ids), seed, small)[1]]
    assert set(held_out) <= {p.id for p in split(map(problem, ids), seed, large)[1]}


@settings(deadline=None)
@given(names, st.integers())
def test_all_or_nothing(ids: list[str], seed: int) -> None:
    assert not split(map(problem, ids), seed, 0)[1]
    assert not split(map(problem, ids), seed, 1)[0]


def test_the_share_is_about_right_and_the_seed_matters() -> None:
    problems = [problem(str(n)) for n in range(2000)]
    held_out = [p.id for p in split(problems, 1, 0.1)[1]]
    assert 150 < len(held_out) < 250
    assert held_out != [p.id for p in split(problems, 2, 0.1)[1]]


def test_rows_of_a_problem_stay_together() -> None:
    rows = [
        Outcome(problem=str(n % 50), prompt=PROMPT, completion=assistant(str(n)), label=1) for n in range(200)
    ]
    kept, held_out = split(rows, 0, 0.5)
    assert {row.problem for row in kept}.isdisjoint(row.problem for row in held_out)
    with pytest.raises(TrainingError, match="row 1 has no `problem`"):
        split([Outcome(prompt=PROMPT, completion=assistant("a"), label=1)], 0, 0.5)
