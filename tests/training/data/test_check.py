"""What spoils training is found, with its lines; what is fine passes."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mull.training.bundled.problems import generate, to_row
from mull.training.data.check import SHOWN, check
from mull.training.data.contamination import COMMON, RUN, normal_words
from mull.training.data.kinds import Kind
from mull.training.data.report import Report
from mull.training.data.rows import Message, Problem
from mull.training.errors import TrainingError


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


ASKED = {"prompt": [user("What is 2+2?")]}
EMPTY = {"text": " ", "finish": "stop", "tokens": 0}
GOOD: dict[Kind, list[dict[str, Any]]] = {
    "problem": [{"id": "a", "question": "What is 2+2?"}, {"id": "b", "question": "What is 2-2?"}],
    "rollout": [ASKED | {"problem": "a", "samples": [{"text": "4", "finish": "stop", "tokens": 1}]}],
    "sft": [ASKED | {"completion": said("4")}, {"messages": [user("Hello"), *said("Yes?")]}],
    "preference": [ASKED | {"chosen": said("4"), "rejected": said("5")}],
    "unpaired": [ASKED | {"completion": said(text), "label": text == "4"} for text in ("4", "5")],
    "outcome": [ASKED | {"completion": said(text), "label": text == "4"} for text in ("4", "5")],
    "stepwise": [ASKED | {"completions": ["2+2\n", "5"], "labels": [1, 0]}],
    "difficulty": [ASKED | {"rate": 0.5}, {"prompt": [user("What is 9*7?")], "rate": 0.25}],
    "grpo": [ASKED | {"answer": "4"}],
}


def report(path: Path, kind: Kind, rows: list[Any], **options: Any) -> Report:
    file = path / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return check(file, kind, **options)


@pytest.mark.parametrize("kind", GOOD)
def test_good_rows_pass(kind: Kind, tmp_path: Path) -> None:
    found = report(tmp_path, kind, GOOD[kind], against=[Problem.model_validate({"question": "What is 3+3?"})])
    assert found.faults == ()
    assert found.rows == len(GOOD[kind])
    found.require()


@pytest.mark.parametrize(
    ("kind", "row", "what"),
    [
        ("grpo", "{", "Invalid JSON"),
        ("grpo", ASKED, "answer: Field required"),
        ("grpo", ASKED | {"answer": " "}, "an empty reference answer"),
        ("problem", {"id": "z", "question": "?", "answer": ""}, "an empty reference answer"),
        ("problem", {"id": "z", "question": " \n"}, "a message of the user is empty"),
        ("problem", {"id": "a", "question": "Another?"}, "the id of an earlier problem"),
        ("sft", {"prompt": [user("?"), *said("!")], "completion": said("4")}, "is not the user's"),
        ("sft", {"messages": said("4")}, "is not the user's"),
        ("sft", {"messages": [user("a"), user("b")]}, "is not the assistant's"),
        ("sft", {"messages": [user("a"), *said(" "), user("c"), *said("d")]}, "an empty answer"),
        ("sft", ASKED | {"completion": said("")}, "an empty answer"),
        ("preference", ASKED | {"chosen": said("4"), "rejected": said("")}, "an empty answer"),
        ("preference", ASKED | {"chosen": said("4"), "rejected": said(" 4\n")}, "chosen and rejected are"),
        ("stepwise", ASKED | {"completions": ["a"], "labels": [1, 0]}, "differ in number"),
        ("stepwise", ASKED | {"completions": ["a"], "labels": [2]}, "labels.*: "),
        ("stepwise", ASKED | {"completions": ["a", " "], "labels": [1, 0]}, "an empty step"),
        ("outcome", ASKED | {"completion": said("4"), "label": -0.5}, "label: "),
        ("unpaired", ASKED | {"completion": said("4"), "label": 0.5}, "label: "),
        ("difficulty", ASKED | {"rate": "often"}, "rate: "),
    ],
)
def test_bad_rows_are_found_among_good_ones(kind: Kind, row: Any, what: str, tmp_path: Path) -> None:
    rows = [*GOOD[kind], row]
    found = report(tmp_path, kind, rows)
    [fault] = found.faults
    assert what in fault.what
    assert fault.fatal
    assert (fault.rows, list(fault.lines)) == (1, [len(rows)])
    with pytest.raises(TrainingError, match=f"line {len(rows)}"):
        found.require()


@pytest.mark.parametrize(
    ("kind", "row", "what"),
    [
        *((kind, rows[0], "a duplicate of") for kind, rows in GOOD.items() if kind != "problem"),
        ("problem", {"id": "c", "question": "What is 2+2?"}, "a duplicate of an earlier row"),
        ("preference", GOOD["preference"][0] | {"problem": "p", "source": {"seed": 1}}, "a duplicate"),
        ("rollout", ASKED | {"problem": "a", "samples": []}, "no samples"),
        ("rollout", ASKED | {"problem": "a", "samples": [EMPTY]}, "an empty sample"),
        ("stepwise", ASKED | {"completions": ["a"], "labels": [None]}, "no step has a label"),
    ],
)
def test_what_only_wastes_time_is_a_warning(kind: Kind, row: Any, what: str, tmp_path: Path) -> None:
    found = report(tmp_path, kind, [*GOOD[kind], row])
    [fault] = found.faults
    assert what in fault.what
    assert not found.fatal
    found.require()


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("unpaired", GOOD["unpaired"][:1]),
        ("outcome", GOOD["outcome"][1:]),
        ("stepwise", [ASKED | {"completions": ["a", "b"], "labels": [1, 1]}]),
        ("difficulty", GOOD["difficulty"][:1]),
    ],
)
def test_labels_of_one_class_teach_nothing(kind: Kind, rows: list[Any], tmp_path: Path) -> None:
    found = report(tmp_path, kind, rows)
    assert [fault.what.startswith("all labels are") for fault in found.faults] == [True]
    assert found.fatal


def test_no_rows(tmp_path: Path) -> None:
    assert report(tmp_path, "sft", ["", " "]).fatal


def test_a_report_counts_and_names_the_first_lines(tmp_path: Path) -> None:
    found = report(tmp_path, "grpo", [*GOOD["grpo"] * 3, *["{"] * 9, *[ASKED] * 2])
    assert [(fault.fatal, fault.rows) for fault in found.faults] == [(True, 9), (True, 2), (False, 2)]
    assert list(found.faults[0].lines) == list(range(4, 4 + SHOWN))
    shown = io.StringIO()
    Console(file=shown, width=200).print(found)
    for text in (shown.getvalue(), str(found)):
        assert "14 rows of kind grpo, not fit to use" in text
        assert "4, 5, 6, 7, 8, ..." in text
        assert "answer: Field required" in text


# Evaluation problems in training data

HELD_OUT = [Problem.model_validate(to_row(problem)) for problem in generate(900001, 50)]


def contaminated(path: Path, rows: list[Any], kind: Kind = "problem", **options: Any) -> list[int]:
    found = report(path, kind, rows, against=HELD_OUT, **options)
    faults = [fault for fault in found.faults if "evaluation problem" in fault.what]
    assert all(fault.fatal for fault in faults)
    return [line for fault in faults for line in fault.lines]


def test_other_problems_of_the_task_are_no_contamination(tmp_path: Path) -> None:
    assert contaminated(tmp_path, [to_row(problem) for problem in generate(3, 1000)]) == []


def test_the_same_id(tmp_path: Path) -> None:
    rows = [{"id": "x", "question": "a"}, {"id": HELD_OUT[4].id, "question": "b"}]
    assert contaminated(tmp_path, rows) == [2]
    assert contaminated(tmp_path, [ASKED | {"problem": HELD_OUT[4].id, "answer": "4"}], "grpo") == [1]


def test_the_same_text_in_other_clothes(tmp_path: Path) -> None:
    text = HELD_OUT[7].prompt[0].content.upper().replace(".", " ;\n").replace(" ", "  ")
    rows = [{"question": "Another?"}, {"question": text}]
    assert contaminated(tmp_path, rows) == [2]
    verdict = {"prompt": [user(text), *said("4"), user("Is it right?")], "completion": said("Yes")}
    assert contaminated(tmp_path, [verdict], "sft") == [1]


@pytest.mark.parametrize("kind", ["sft", "preference", "rollout", "stepwise"])
def test_a_problem_told_in_an_answer(kind: Kind, tmp_path: Path) -> None:
    text = f"Here is one for you: {HELD_OUT[7].prompt[0].content} Good luck!"
    row: dict[Kind, Any] = {
        "sft": {"messages": [user("Tell me a problem."), *said(text)]},
        "preference": ASKED | {"chosen": said("4"), "rejected": said(text)},
        "rollout": ASKED | {"problem": "a", "samples": [{"text": text, "finish": "stop", "tokens": 9}]},
        "stepwise": ASKED | {"completions": [text[:50], text[50:]], "labels": [1, 0]},
    }
    assert contaminated(tmp_path, [*GOOD[kind], row[kind]], kind) == [len(GOOD[kind]) + 1]


def test_the_share_of_shared_words_decides(tmp_path: Path) -> None:
    longest = max((p.prompt[0].content for p in HELD_OUT), key=len)
    kept = longest.split()[: round(0.7 * len(longest.split()))]
    row = {"question": " ".join([*kept, "and then it was dark. How many were there?"])}
    assert contaminated(tmp_path, [row], overlap=0.5) == [1]
    assert contaminated(tmp_path, [row], overlap=0.9) == []


def test_a_phrase_of_the_task_is_no_contamination(tmp_path: Path) -> None:
    phrase = " ".join(f"instruction{n}" for n in range(RUN + 20))
    held_out = [Problem.model_validate({"question": f"{phrase} {n}?"}) for n in range(COMMON + 1)]
    row = {"question": f"{phrase} something else?"}
    assert not report(tmp_path, "problem", [row], against=held_out).fatal
    assert report(tmp_path, "problem", [row], against=held_out[:-1]).fatal


def test_signs_tell_problems_apart_and_punctuation_does_not() -> None:
    assert normal_words("What is 2 + 3?") == normal_words("what is: 2+3")
    assert len({normal_words(f"What is 2 {sign} 3?") for sign in "+-*/^"}) == 5


def test_a_shuffled_problem_is_another_one(tmp_path: Path) -> None:
    words = HELD_OUT[0].prompt[0].content.split()
    random.Random(0).shuffle(words)
    assert contaminated(tmp_path, [{"question": " ".join(words)}]) == []


def test_several_messages_are_one_question(tmp_path: Path) -> None:
    parts = [Message(role="user", content=text) for text in ("What is", "2+2?")]
    held_out = [Problem(id="x", prompt=parts)]
    assert report(tmp_path, "grpo", GOOD["grpo"], against=held_out).fatal
    assert not report(tmp_path, "problem", [{"question": "What is"}], against=held_out).fatal
