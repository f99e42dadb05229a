"""The files of the traces: written aside, rotated, and gone when their time is over."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mull.errors import NotFound
from mull.server.feedback import Feedback
from mull.server.traces import LIGHT, TraceStore

DAY = 86_400


def trace(name: str, created: float = 0, nodes: int = 2) -> dict[str, Any]:
    return dict.fromkeys(LIGHT) | {"id": name, "created": created, "nodes": [{"id": i} for i in range(nodes)]}


class Clock:
    """Time that a test sets."""

    now = 20_000.0 * DAY

    def __call__(self) -> float:
        return self.now


@contextmanager
def store(folder: Path, clock: Clock | None = None, **options: Any) -> Iterator[TraceStore]:
    clock = clock or Clock()
    settings = {"max_count": 1000, "max_age": 30 * DAY} | options
    made = TraceStore(folder, clock=clock, **settings)
    made.open()
    try:
        yield made
    finally:
        made.close()


def put(made: TraceStore, *names: str) -> None:
    for name in names:
        made.put(name, partial(trace, name, made._clock()))


def names(made: TraceStore) -> list[str]:
    return [row["id"] for row in made.page(limit=1000)[0]]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("traces-*"))


def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    with store(tmp_path) as made:
        put(made, *(f"t{i}" for i in range(200)))
    with store(tmp_path) as made:
        assert names(made) == [f"t{i}" for i in reversed(range(200))]
        assert made.get("t7") == trace("t7", Clock.now)


def test_a_full_queue_drops_and_counts_and_never_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken, held, dropped = threading.Event(), threading.Event(), []

    def slow() -> dict[str, Any]:
        taken.set()
        held.wait(20)
        return trace("slow", Clock.now)

    with (
        caplog.at_level(logging.WARNING),
        store(tmp_path, waiting=2, on_drop=lambda: dropped.append(1)) as made,
    ):
        made.put("slow", slow)
        assert taken.wait(20)
        put(made, "a", "b", "c", "d", "e")
        assert len(dropped) == 3
        held.set()
    assert caplog.text.count("is lost: too many wait") == 3
    with store(tmp_path) as made:
        assert names(made) == ["b", "a", "slow"]


def test_one_that_cannot_be_written_does_not_stop_the_others(tmp_path: Path) -> None:
    dropped = []
    with store(tmp_path, on_drop=lambda: dropped.append(1)) as made:
        made.put("bad", lambda: trace("bad") | {"text": "\ud800"})
        put(made, "good")
    assert dropped == [1]
    with store(tmp_path) as made:
        assert names(made) == ["good"]


def test_files_are_rotated_by_size_and_by_day(tmp_path: Path) -> None:
    clock = Clock()
    with store(tmp_path, clock, file_bytes=1) as made:
        put(made, "a", "b")
    clock.now += DAY
    with store(tmp_path, clock) as made:
        put(made, "c", "d")
    assert files(tmp_path) == [
        "traces-20241004-1.jsonl",
        "traces-20241004-2.jsonl",
        "traces-20241005-1.jsonl",
    ]


def test_the_oldest_beyond_the_count_are_deleted(tmp_path: Path) -> None:
    with store(tmp_path, file_bytes=1, max_count=3) as made:
        put(made, *"abcdefg")
    assert len(files(tmp_path)) == 3
    with store(tmp_path, file_bytes=1, max_count=2) as made:
        assert names(made) == ["g", "f"]
        with pytest.raises(NotFound):
            made.get("e")
        assert len(files(tmp_path)) == 2


def test_what_is_too_old_is_deleted_with_its_feedback(tmp_path: Path) -> None:
    clock = Clock()
    with store(tmp_path, clock) as made:
        put(made, "old")
        made.feedback.add(Feedback(trace_id="old", comment="mine"))
    clock.now += 20 * DAY
    with store(tmp_path, clock) as made:
        put(made, "young")
        made.feedback.add(Feedback(trace_id="young", comment="yours"))
    clock.now += 15 * DAY
    with store(tmp_path, clock) as made:
        assert names(made) == ["young"]
        assert made.feedback.of("old") == []
        assert made.feedback.of("young")
    assert files(tmp_path) == ["traces-20241024-1.jsonl"]
    assert "mine" not in (tmp_path / "feedback.jsonl").read_text()


def test_a_torn_last_line_loses_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with store(tmp_path) as made:
        put(made, "a", "b")
    (path,) = tmp_path.glob("traces-*")
    path.write_bytes(path.read_bytes()[:-9])
    (tmp_path / "feedback.jsonl").write_text('{"trace_id": "a", "crea')
    with caplog.at_level(logging.WARNING), store(tmp_path) as made:
        put(made, "c")
        made.feedback.add(Feedback(trace_id="a", right=True))
    assert "1 lines cannot be read" in caplog.text
    with store(tmp_path) as made:
        assert names(made) == ["c", "a"]
        assert [row["right"] for row in made.feedback.of("a")] == [True]


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "traces-notes.jsonl").write_text("mine\n")
    with store(tmp_path) as made:
        put(made, "a")
    assert (tmp_path / "traces-notes.jsonl").read_text() == "mine\n"


def test_the_same_feedback_twice_is_once(tmp_path: Path) -> None:
    with store(tmp_path) as made:
        said = Feedback(trace_id="a", right=True)
        assert [made.feedback.add(said), made.feedback.add(said)] == [True, False]
        assert made.feedback.add(Feedback(trace_id="a", right=False))
        assert made.feedback.add(said)
    rows = [json.loads(line) for line in (tmp_path / "feedback.jsonl").read_text().splitlines()]
    assert [row["right"] for row in rows] == [True, False, True]
