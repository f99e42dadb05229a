"""Traces are written aside, in files or tables, and gone when their time is over."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mull.errors import NotFound
from mull.server.feedback import Feedback
from mull.server.storage.postgres import shared
from mull.server.storage.trace_files import TraceFiles
from mull.server.storage.trace_tables import TraceTables
from mull.server.traces import LIGHT, Archive, TraceStore

DAY = 86_400


def trace(name: str, created: float = 0, nodes: int = 2) -> dict[str, Any]:
    return dict.fromkeys(LIGHT) | {"id": name, "created": created, "nodes": [{"id": i} for i in range(nodes)]}


class Clock:
    """Time that a test sets."""

    now = 20_000.0 * DAY

    def __call__(self) -> float:
        return self.now


@contextmanager
def store(
    place: Path | str,
    clock: Clock | None = None,
    waiting: int = 1024,
    on_drop: Callable[[], None] = lambda: None,
    **options: Any,
) -> Iterator[TraceStore]:
    """Traces in a folder, or in the database at a URL."""
    settings = {"max_count": 1000, "max_age": 30 * DAY, "clock": clock or Clock()} | options
    database = None if isinstance(place, Path) else shared(place)
    archive: Archive = (
        TraceTables(database, period=0, **settings) if database else TraceFiles(place, **settings)  # type: ignore[arg-type]
    )
    made = TraceStore(archive, waiting=waiting, on_drop=on_drop)
    made.open()
    try:
        yield made
    finally:
        made.close()
        if database is not None:
            database.close()


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "folder":
        return tmp_path
    url: str = request.getfixturevalue("database")
    return url


def put(made: TraceStore, *names: str, clock: Clock | None = None) -> None:
    clock = clock or Clock()
    for name in names:
        made.put(name, partial(trace, name, clock.now))


def names(made: TraceStore) -> list[str]:
    return [row["id"] for row in made.page(limit=1000)[0]]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("traces-*"))


def test_what_waits_is_written_at_the_end(place: Path | str) -> None:
    with store(place) as made:
        put(made, *(f"t{i}" for i in range(200)))
    with store(place) as made:
        assert names(made) == [f"t{i}" for i in reversed(range(200))]
        assert made.get("t7") == trace("t7", Clock.now)


def test_a_full_queue_drops_and_counts_and_never_waits(
    place: Path | str, caplog: pytest.LogCaptureFixture
) -> None:
    taken, held, dropped = threading.Event(), threading.Event(), []

    def slow() -> dict[str, Any]:
        taken.set()
        held.wait(20)
        return trace("slow", Clock.now)

    with (
        caplog.at_level(logging.WARNING),
        store(place, waiting=2, on_drop=lambda: dropped.append(1)) as made,
    ):
        made.put("slow", slow)
        assert taken.wait(20)
        put(made, "a", "b", "c", "d", "e")
        assert len(dropped) == 3
        held.set()
    assert caplog.text.count("is lost: too many wait") == caplog.text.count("kept again") == 1
    with store(place) as made:
        assert names(made) == ["b", "a", "slow"]


def test_one_that_cannot_be_written_does_not_stop_the_others(place: Path | str) -> None:
    dropped = []
    with store(place, on_drop=lambda: dropped.append(1)) as made:
        made.put("bad", lambda: trace("bad") | {"text": "\ud800"})
        put(made, "good")
    assert dropped == [1]
    with store(place) as made:
        assert names(made) == ["good"]


def test_files_are_rotated_by_size_and_by_day(tmp_path: Path) -> None:
    clock = Clock()
    with store(tmp_path, clock, file_bytes=1) as made:
        put(made, "a", "b")
    clock.now += DAY
    with store(tmp_path, clock) as made:
        put(made, "c", "d", clock=clock)
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


def test_what_is_too_old_is_deleted_with_its_feedback(place: Path | str) -> None:
    clock = Clock()
    with store(place, clock) as made:
        put(made, "old", clock=clock)
        made.add_feedback(Feedback(trace_id="old", comment="mine"))
    clock.now += 20 * DAY
    with store(place, clock) as made:
        put(made, "young", clock=clock)
        made.add_feedback(Feedback(trace_id="young", comment="yours"))
    clock.now += 15 * DAY
    with store(place, clock) as made:
        until(lambda: names(made) == ["young"])
        assert made.feedback("old") == []
        assert made.feedback("young")
        with pytest.raises(NotFound):
            made.get("old")
    if isinstance(place, Path):
        assert files(place) == ["traces-20241024-1.jsonl"]
        assert "mine" not in (place / "feedback.jsonl").read_text()


def test_a_torn_last_line_loses_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with store(tmp_path) as made:
        put(made, "a", "b")
    (path,) = tmp_path.glob("traces-*")
    path.write_bytes(path.read_bytes()[:-9])
    (tmp_path / "feedback.jsonl").write_text('{"trace_id": "a", "crea')
    with caplog.at_level(logging.WARNING), store(tmp_path) as made:
        put(made, "c")
        made.add_feedback(Feedback(trace_id="a", right=True))
    assert "1 lines cannot be read" in caplog.text
    with store(tmp_path) as made:
        assert names(made) == ["c", "a"]
        assert [row["right"] for row in made.feedback("a")] == [True]


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "traces-notes.jsonl").write_text("mine\n")
    with store(tmp_path) as made:
        put(made, "a")
    assert (tmp_path / "traces-notes.jsonl").read_text() == "mine\n"


def test_the_same_feedback_twice_is_once(place: Path | str) -> None:
    with store(place) as made:
        said = Feedback(trace_id="a", right=True)
        assert [made.add_feedback(said), made.add_feedback(said)] == [True, False]
        assert made.add_feedback(Feedback(trace_id="a", right=False))
        assert made.add_feedback(said)
        assert made.add_feedback(Feedback(trace_id="a", right=False, node=0))
    with store(place) as made:
        found = [(row.get("node"), row["right"]) for row in made.feedback("a")]
        assert sorted(found, key=str) == [(0, False), (None, True)]
        assert made.feedback("b") == []
    if isinstance(place, Path):
        rows = [json.loads(line) for line in (place / "feedback.jsonl").read_text().splitlines()]
        assert [row["right"] for row in rows] == [True, False, True, False]


def test_pages_hold_what_waits_and_what_is_written_once_each(place: Path | str) -> None:
    held = threading.Event()

    def slow() -> dict[str, Any]:
        held.wait(20)
        return trace("slow", Clock.now)

    with store(place) as made:
        put(made, "a", "b", "c")
        made.put("slow", slow)
        put(made, "d", "e")
        asked: list[list[str]] = []
        reader = threading.Thread(target=lambda: asked.extend([names(made), names(made)]))
        reader.start()
        assert [row["id"] for row in made.page(limit=9, after="c")[0]] == ["b", "a"]
        held.set()
        reader.join(20)
        assert asked == [["e", "d", "slow", "c", "b", "a"]] * 2
        first, more = made.page(limit=2)
        assert ([row["id"] for row in first], more) == (["e", "d"], True)
        rest, more = made.page(limit=4, after="d")
        assert ([row["id"] for row in rest], more) == (["slow", "c", "b", "a"], False)
        with pytest.raises(NotFound):
            made.page(limit=1, after="f")


def test_the_oldest_in_the_store_beyond_the_count_are_forgotten(database: str) -> None:
    with store(database) as one, store(database, max_count=3) as other:
        one.add_feedback(Feedback(trace_id="a", right=True))
        put(one, *"abcd")
        until(lambda: names(other) == ["d", "c", "b", "a"])
        put(other, "e")
        until(lambda: names(one) == ["e", "d", "c"])
        assert one.feedback("a") == []
        with pytest.raises(NotFound):
            one.get("a")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
