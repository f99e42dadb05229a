"""Served searches become rows of every format, and nothing is made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mull.server.feedback import Feedback
from mull.server.storage.postgres import shared
from mull.server.storage.trace_tables import TraceTables
from mull.server.traces import LIGHT
from mull.training.data.check import check
from mull.training.data.from_traces import FORMAT, Harvest, Purpose, harvest
from mull.training.data.from_traces_command import from_traces_command
from mull.training.errors import TrainingError

ASK = [{"role": "user", "content": "What is one plus one?"}]
RIGHT, WRONG, OTHER = "so \\boxed{2}", "so \\boxed{3}", "so \\boxed{4}"


def node(parent: int, text: str, kind: str = "step", finish: str | None = "step") -> dict[str, Any]:
    return {"parent": parent, "text": text, "kind": kind, "finish": finish, "tokens": 3, "data": {}}


def tree(*nodes: dict[str, Any]) -> list[dict[str, Any]]:
    root = {"parent": None, "text": "", "kind": "root", "finish": None}
    return [{"id": i} | found for i, found in enumerate((root, *nodes))]


SEARCH = tree(
    node(0, "a\n"),  # 1: one right, two wrong
    node(0, "b\n"),  # 2: pruned
    node(1, "c\n"),  # 3: right
    node(1, "d\n"),  # 4: wrong
    node(3, RIGHT, finish="stop"),  # 5
    node(4, WRONG, finish="stop"),  # 6
    node(4, WRONG, finish="stop"),  # 7: the same again
    node(4, "so it was cut", finish="length"),  # 8
    node(3, "this is wrong", kind="critique", finish="stop"),  # 9
)


def samples(*texts: str) -> list[dict[str, Any]]:
    return tree(*(node(0, text, "sample", "stop") for text in texts))


def trace(name: str = "t", nodes: Sequence[dict[str, Any]] = SEARCH, **fields: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "id": name,
        "created": 1_700_000_000,
        "status": "finished",
        "model": "m",
        "strategy": "beam_search",
        "parameters": {"delimiter": "\n"},
        "verifier": {"name": "prm", "kind": "process", "version": "v1"},
        "messages": ASK,
        "answer_kind": "auto",
        "reference": None,
        "answer": None,
        "nodes": list(nodes),
    } | fields


def keep(folder: Path, *traces: dict[str, Any], feedback: Sequence[dict[str, Any]] = ()) -> Path:
    text = "".join(json.dumps(found) + "\n" for found in traces)
    (folder / "traces-20240101-1.jsonl").write_text(text)
    (folder / "feedback.jsonl").write_text("".join(json.dumps(said) + "\n" for said in feedback))
    return folder


def plain(found: Harvest) -> list[dict[str, Any]]:
    return [row.model_dump(exclude_unset=True) for row in found.rows]


async def test_steps_are_labelled_by_what_came_of_them(tmp_path: Path) -> None:
    rows = plain(await harvest(keep(tmp_path, trace(reference="2")), "prm"))
    assert [(row["completions"], row["labels"]) for row in rows] == [
        (["a\n", "c\n", RIGHT], [pytest.approx(1 / 3), 1, 1]),
        # What is labelled above is not labelled again; copies count as often as they were sampled.
        (["a\n", "d\n", WRONG], [None, 0, 0]),
    ]
    assert rows[0]["prompt"] == ASK
    assert rows[0]["source"] == {
        "kind": "trace",
        "trace": "t",
        "created": 1_700_000_000,
        "model": "m",
        "strategy": "beam_search",
        "verifier": {"name": "prm", "kind": "process", "version": "v1"},
        "labels": "reference",
    }


async def test_hard_labels_ask_for_one_right_answer(tmp_path: Path) -> None:
    rows = plain(await harvest(keep(tmp_path, trace(reference="2")), "prm", hard=True))
    assert [row["labels"] for row in rows] == [[1, 1, 1], [None, 0, 0]]


async def test_steps_end_where_the_strategy_ended_them(tmp_path: Path) -> None:
    nodes = tree(node(0, "a; "), node(1, RIGHT, finish="stop"))
    found = await harvest(
        keep(tmp_path, trace(nodes=nodes, reference="2", parameters={"delimiter": "; "})), "prm"
    )
    assert plain(found)[0]["completions"] == ["a; ", RIGHT]


async def test_every_finished_answer_has_an_outcome(tmp_path: Path) -> None:
    rows = plain(await harvest(keep(tmp_path, trace(reference="2")), "orm"))
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [
        ("a\nc\n" + RIGHT, 1),
        ("a\nd\n" + WRONG, 0),
    ]


async def test_pairs_share_as_many_steps_as_they_can(tmp_path: Path) -> None:
    nodes = samples("x\n" + RIGHT, "y\nz\n" + RIGHT, "q\n" + WRONG, "y\nz\n" + WRONG)
    folder = keep(tmp_path, trace(nodes=nodes, reference="2"))
    rows = plain(await harvest(folder, "dpo"))
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows] == [
        ("y\nz\n" + RIGHT, "y\nz\n" + WRONG),
        ("x\n" + RIGHT, "q\n" + WRONG),
    ]
    assert len((await harvest(folder, "dpo", pairs=1)).rows) == 1


async def test_right_answers_are_demonstrations_once(tmp_path: Path) -> None:
    nodes = samples(RIGHT, WRONG, RIGHT, "well, " + RIGHT)
    rows = plain(await harvest(keep(tmp_path, trace(nodes=nodes, reference="2.0")), "sft"))
    assert [row["completion"][0]["content"] for row in rows] == [RIGHT, "well, " + RIGHT]


async def test_each_prompt_is_asked_once(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "And two plus two?"}]
    folder = keep(
        tmp_path,
        trace("a", reference="2"),
        trace("b", reference="2"),
        trace("c", reference="4", messages=other),
    )
    found = await harvest(folder, "grpo")
    assert [row["answer"] for row in plain(found)] == ["2", "4"]
    assert found.dropped == {"the same prompt again": 1}


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        ([{"trace_id": "t", "reference": "3"}], {RIGHT: 0, WRONG: 1, OTHER: 0}),
        ([{"trace_id": "t", "right": True}], {RIGHT: 1, WRONG: 0, OTHER: 0}),
        # The answer given is wrong; whether another one is right nobody knows.
        ([{"trace_id": "t", "right": False}], {RIGHT: 0}),
        (
            [{"trace_id": "t", "right": False}, {"trace_id": "t", "reference": "4"}],
            {RIGHT: 0, WRONG: 0, OTHER: 1},
        ),
        ([{"trace_id": "t", "right": False, "node": 2}], {WRONG: 0}),
        (
            [{"trace_id": "t", "right": True}, {"trace_id": "t", "node": 3, "right": True}],
            {RIGHT: 1, WRONG: 0, OTHER: 1},
        ),
    ],
)
async def test_users_say_what_is_right(tmp_path: Path, said: Any, labels: dict[str, float]) -> None:
    folder = keep(tmp_path, trace(nodes=samples(RIGHT, WRONG, OTHER), answer="2"), feedback=said)
    rows = plain(await harvest(folder, "orm"))
    assert {row["completion"][0]["content"]: row["label"] for row in rows} == labels
    assert {row["source"]["labels"] for row in rows} == {"feedback"}


async def test_users_judge_single_steps(tmp_path: Path) -> None:
    said: list[dict[str, Any]] = [
        {"trace_id": "t", "reference": "2"},
        {"trace_id": "t", "node": 3, "right": False},
    ]
    rows = plain(await harvest(keep(tmp_path, trace(), feedback=said), "prm"))
    assert rows[0]["labels"] == [pytest.approx(1 / 3), 0, 1]


@pytest.mark.parametrize(("wrong", "agreement"), [(1, 0.75), (2, None)])
async def test_a_vote_counts_when_it_is_clear(tmp_path: Path, wrong: int, agreement: float | None) -> None:
    nodes = samples(*[RIGHT] * 3, *[WRONG] * wrong, "no answer")
    found = await harvest(keep(tmp_path, trace(nodes=nodes)), "orm")
    if agreement is None:
        assert found.rows == []
        assert found.dropped == {"nobody knows which answer is right": 1}
    else:
        rows = plain(found)
        assert [row["label"] for row in rows] == [1, 0, 0]
        assert rows[0]["source"]["labels"] == "consensus"
        assert rows[0]["source"]["agreement"] == agreement


async def test_only_the_wanted_source_of_labels_counts(tmp_path: Path) -> None:
    nodes = samples(*[RIGHT] * 4)
    said: list[dict[str, Any]] = [{"trace_id": "b", "right": True}]
    folder = keep(
        tmp_path,
        trace("a", nodes, reference="2"),
        trace("b", nodes, answer="2"),
        trace("c", nodes),
        feedback=said,
    )
    for how, used in (("reference", 1), ("feedback", 1), ("consensus", 3)):
        found = await harvest(folder, "sft", labels=how)  # type: ignore[arg-type]
        assert found.used == {how: used}
        assert sum(found.dropped.values()) == 3 - used
    best = await harvest(folder, "sft")
    assert best.used == {"reference": 1, "feedback": 1, "consensus": 1}


async def test_equal_answers_without_labels_give_no_pairs(tmp_path: Path) -> None:
    found = await harvest(keep(tmp_path, trace(nodes=samples(*[RIGHT] * 5))), "dpo")
    assert found.rows == []
    assert found.dropped == {"not both a right and a wrong answer": 1}


async def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    textless = trace("text", messages=None, nodes=[n | {"text": None} for n in SEARCH], parameters=None)
    folder = keep(
        tmp_path,
        trace("failed", status="failed", reference="2"),
        trace("gone", status="cancelled", reference="2"),
        textless,
        trace("nothing", nodes=tree(node(0, "a\n")), reference="2"),
        trace("turn", messages=[*ASK, {"role": "assistant", "content": "2"}], reference="2"),
    )
    with (folder / "traces-20240101-1.jsonl").open("a") as file:
        file.write('{"id": "torn')
    found = await harvest(folder, "prm")
    assert found.rows == []
    assert found.traces == 5
    assert found.dropped == {
        "the request failed": 1,
        "the request was cancelled": 1,
        "kept without text": 1,
        "no finished answer whose steps are judged": 1,
        "the last message is not the user's": 1,
        "a line that cannot be read": 1,
    }


async def test_answers_to_other_prompts_are_not_answers(tmp_path: Path) -> None:
    nodes = tree(
        node(0, RIGHT, "sample", "stop"),
        node(1, WRONG, "revision", "stop"),
        node(0, "", "round", None),
        node(3, WRONG, "sample", "stop"),
        node(0, "", "stage", None),
        node(5, OTHER, "sample", "stop"),
    )
    rows = plain(await harvest(keep(tmp_path, trace(nodes=nodes, reference="2")), "orm"))
    assert [row["completion"][0]["content"] for row in rows] == [RIGHT, OTHER]


async def test_a_folder_without_traces_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"traces\.dir"):
        await harvest(tmp_path, "prm")


@pytest.mark.parametrize("purpose", list(FORMAT))
def test_the_command_writes_rows_that_are_fit_for_training(tmp_path: Path, purpose: Purpose) -> None:
    folder = keep(tmp_path, trace("a", reference="2"), trace("b", status="failed"))
    app = typer.Typer()
    app.command()(from_traces_command)
    out = tmp_path / "rows.jsonl"
    done = CliRunner().invoke(app, [str(folder), "--for", purpose, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "from 2 traces; used: 1 by reference" in done.output
    assert "left out 1: the request failed" in done.output
    check(out, FORMAT[purpose]).require()


def test_the_command_fails_without_rows(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(from_traces_command)
    out = tmp_path / "rows.jsonl"
    assert CliRunner().invoke(app, [str(tmp_path), "--for", "prm", "--out", str(out)]).exit_code == 2
    keep(tmp_path, trace(status="failed"))
    done = CliRunner().invoke(app, [str(tmp_path), "--for", "prm", "--out", str(out)])
    assert done.exit_code == 1
    assert not out.exists()


async def test_a_database_gives_the_same_rows_as_a_folder(tmp_path: Path, database: str) -> None:
    with pytest.raises(TrainingError, match="no server has kept traces"):
        await harvest(database, "prm")
    kept = [trace("a", reference="2"), trace("b"), trace("c", status="failed")]
    said: list[dict[str, Any]] = [
        {"trace_id": "b", "reference": "3"},
        {"trace_id": "b", "node": 3, "right": False},
        {"trace_id": "b", "reference": "2"},
    ]
    store = shared(database)
    try:
        archive = TraceTables(store, max_count=9, max_age=1e12)
        for one in kept:
            archive.add(dict.fromkeys(LIGHT) | one)
        for word in said:
            archive.add_feedback(Feedback.model_validate(word))
    finally:
        store.close()
    folder = keep(tmp_path, *kept, feedback=said)
    for purpose in FORMAT:
        here, there = await harvest(folder, purpose), await harvest(database, purpose)
        assert plain(there) == plain(here)
        assert (there.traces, there.used, there.dropped) == (here.traces, here.used, here.dropped)
    assert (await harvest(database, "prm")).used == {"reference": 1, "feedback": 1}


def test_the_command_never_shows_the_url(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(from_traces_command)
    for url in (
        f"postgresql://mull:hunter2@/db?host={tmp_path}",
        "postgresql://mull:hunter2@h/db?colour=red",
    ):
        done = CliRunner().invoke(app, [url, "--for", "prm", "--out", str(tmp_path / "rows.jsonl")])
        assert done.exit_code == 2
        assert "database" in done.output
        assert "hunter2" not in done.output
