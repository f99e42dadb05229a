"""Rows survive a file, and what is no row is told by line and field."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mull.training.data.rows import (
    FORMATS,
    Grpo,
    Message,
    Outcome,
    Preference,
    Problem,
    Rollout,
    Row,
    Sft,
    Stepwise,
    assistant,
    read,
    write,
)
from mull.training.errors import TrainingError

USER = [{"role": "user", "content": "What is 2+2?"}]
ANSWER = [{"role": "assistant", "content": "4"}]

SMALLEST: dict[str, dict[str, Any]] = {
    "problem": {"id": "a", "prompt": USER},
    "rollout": {"problem": "a", "prompt": USER, "samples": [{"text": "4", "finish": "stop", "tokens": 1}]},
    "sft": {"prompt": USER, "completion": ANSWER},
    "preference": {"prompt": USER, "chosen": ANSWER, "rejected": ANSWER},
    "unpaired": {"prompt": USER, "completion": ANSWER, "label": True},
    "outcome": {"prompt": USER, "completion": ANSWER, "label": 0.5},
    "stepwise": {"prompt": USER, "completions": ["2+2\n", "4"], "labels": [1.0, None]},
    "difficulty": {"prompt": USER, "rate": 0.25},
    "grpo": {"prompt": USER, "answer": "4"},
}


def no_row(row: type[Row], content: Any, tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(TrainingError) as raised:
        read(path, row)
    return raised.value.message.removeprefix(f"{path}, ")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_gives_back_each_format_with_unknown_fields(kind: Any, tmp_path: Path) -> None:
    content = SMALLEST[kind] | {"note": {"by": "me"}}
    path = tmp_path / "new" / "rows.jsonl"
    row = FORMATS[kind].model_validate(content)
    assert write(path, [row, row]) == 2
    assert read(path, FORMATS[kind]) == [row, row]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [content, content]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_field_of_the_smallest_rows_is_needed(kind: Any, tmp_path: Path) -> None:
    for field in SMALLEST[kind].keys() - {"id"}:
        rest = {name: value for name, value in SMALLEST[kind].items() if name != field}
        assert no_row(FORMATS[kind], rest, tmp_path).startswith("line 1: ")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            Sft,
            problem=st.none() | st.text(),
            messages=st.lists(
                st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=st.text()),
                min_size=1,
            ),
        )
    )
)
def test_any_text_survives_a_file(tmp_path: Path, rows: list[Sft]) -> None:
    write(tmp_path / "rows.jsonl", rows)
    assert read(tmp_path / "rows.jsonl", Sft) == rows


@given(st.binary())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_rows_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    if content.strip():
        with pytest.raises(TrainingError, match=", line "):
            read(tmp_path / "rows.jsonl", Problem)
    else:
        assert read(tmp_path / "rows.jsonl", Problem) == []


@pytest.mark.parametrize(
    ("row", "content", "message"),
    [
        (Problem, '{"question": "?"}\n\n{"id"', "line 3: Invalid JSON"),
        (Problem, {"id": "a"}, "line 1: prompt: Field required"),
        (Problem, {"id": "a", "prompt": []}, "line 1: prompt: "),
        (Problem, {"question": 4}, "line 1: prompt.*.content: "),
        (Problem, {"prompt": [{"role": "robot", "content": "?"}]}, "line 1: prompt.*.role: "),
        (Grpo, {"prompt": USER, "answer": None}, "line 1: answer: "),
        (Sft, {"prompt": USER}, "line 1: a row has either messages or prompt and completion"),
        (Sft, {"prompt": USER, "completion": USER}, "line 1: completion.*.role: "),
        (Sft, SMALLEST["sft"] | {"messages": USER}, "line 1: a row has either "),
        (Preference, SMALLEST["preference"] | {"chosen": []}, "line 1: chosen: "),
        (Outcome, SMALLEST["outcome"] | {"label": 1.5}, "line 1: label: "),
        (Outcome, json.dumps(SMALLEST["outcome"] | {"label": float("nan")}), "line 1: label: "),
        (Stepwise, SMALLEST["stepwise"] | {"labels": [1]}, "line 1: completions and labels differ in number"),
        (Stepwise, SMALLEST["stepwise"] | {"labels": [1, -1]}, "line 1: labels.*: "),
        (Rollout, SMALLEST["rollout"] | {"samples": [{"text": ""}]}, "line 1: samples.*.finish: "),
    ],
)
def test_what_is_wrong_is_named(row: type[Row], content: Any, message: str, tmp_path: Path) -> None:
    assert no_row(row, content, tmp_path).startswith(message)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such file"):
        read(tmp_path / "none.jsonl", Problem)


def test_a_question_is_a_message_of_the_user() -> None:
    problem = Problem.model_validate({"question": "What?", "answer": 4})
    assert problem.prompt == [Message(role="user", content="What?")]
    assert problem.answer == "4"


def test_a_problem_without_id_has_one_that_follows_from_its_prompt() -> None:
    ids = {
        Problem.model_validate(row).id
        for row in ({"question": "a"}, {"question": "a", "answer": "1"}, {"question": "b"})
    }
    assert len(ids) == 2


def test_true_and_false_are_labels() -> None:
    assert Outcome.model_validate(SMALLEST["outcome"] | {"label": True}).label == 1.0


def test_columns_are_what_a_trainer_reads() -> None:
    row = Sft.model_validate(SMALLEST["sft"] | {"problem": "a", "source": {"kind": "x"}, "note": 1})
    assert row.columns() == SMALLEST["sft"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = Sft(prompt=[Message(role="user", content="a")], completion=assistant("b"))
    write(path, [row])

    def broken() -> Any:
        yield row
        yield row
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(path, broken())
    assert read(path, Sft) == [row]
    assert list(tmp_path.iterdir()) == [path]
