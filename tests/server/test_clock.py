"""A wall clock that jumps: nothing that runs ends for it, or goes on for it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

HOUR = 3600.0
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR, 400 * 24 * HOUR], ids=["on", "back", "a year on"])


class Wall:
    """The wall clock, with what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.real = time.time

    def __call__(self) -> float:
        return self.real() + self.ahead


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """The clock of everything that asks for the time of day."""
    made, found = Wall(), 0
    monkeypatch.setattr("time.time", made)
    for name in [name for name in sys.modules if name.startswith("mull.server.")]:
        for kind in vars(sys.modules[name]).values():
            # A default is what it was when the function was made.
            defaults = getattr(getattr(kind, "__init__", None), "__kwdefaults__", None) or {}
            if defaults.get("clock") is made.real:
                monkeypatch.setitem(defaults, "clock", made)
                found += 1
    assert found >= 3
    return made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@JUMPS
def test_a_search_goes_on(start: Start, wall: Wall, pool: ThreadPoolExecutor, jump: float) -> None:
    with start() as live:
        live.script.hold.clear()
        ttc = {"strategy": "majority_vote", "n": 4, "budget": {"seconds": 60}}
        running = pool.submit(live.post, ttc=ttc)
        until(lambda: live.script.in_flight == 4)
        wall.ahead = jump
        (row,) = live.http.get("/v1/ttc/running").json()["data"]
        assert 0 <= row["seconds"] < 60
        assert not running.done()
        live.script.hold.set()
        answer = running.result().json()
    assert answer["ttc"]["stopped"] == "complete"
    assert answer["choices"][0]["message"]["content"]


@JUMPS
def test_a_deadline_holds(start: Start, wall: Wall, pool: ThreadPoolExecutor, jump: float) -> None:
    with start() as live:
        live.script.hold.clear()
        running = pool.submit(live.post, ttc={"strategy": "single", "budget": {"seconds": 0.5}})
        until(lambda: live.script.in_flight == 1)
        wall.ahead = jump
        response = running.result()
        assert live.script.in_flight == 0
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "budget_exhausted"


@JUMPS
def test_who_waits_goes_on_waiting(start: Start, wall: Wall, pool: ThreadPoolExecutor, jump: float) -> None:
    with start(admission={"running": 1, "seconds": 60}) as live:
        live.script.hold.clear()
        first = pool.submit(live.post)
        until(lambda: live.script.in_flight == 1)
        second = pool.submit(live.post)
        until(lambda: "mull_waiting 1.0" in live.http.get("/metrics").text)
        wall.ahead = jump
        third = pool.submit(live.post)
        until(lambda: "mull_waiting 2.0" in live.http.get("/metrics").text)
        live.script.hold.set()
        assert [each.result().status_code for each in (first, second, third)] == [200] * 3


def traces(live: Live) -> list[str]:
    listed = live.http.get("/v1/ttc/traces", headers={"Authorization": "Bearer open sesame"}).json()
    return [row["id"] for row in listed["data"]]


def _keeps(live: Live, count: int) -> bool:
    return len(traces(live)) == count


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["on", "back"])
def test_what_is_kept_stays(
    start: Start, wall: Wall, jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour is nothing to what is kept for days, also where it is another day for it."""
    monkeypatch.setenv("MULL_ADMIN_KEY", "open sesame")
    # One minute before or after midnight: each jump leads into another day.
    midnight = (time.time() // (24 * HOUR) + 1) * 24 * HOUR
    now = midnight - 60 if jump > 0 else midnight + 60
    wall.ahead = now - wall.real()
    with start(traces={"dir": tmp_path}) as live:
        for ahead in (0.0, jump, 0.0):
            wall.ahead = now - wall.real() + ahead
            before = len(traces(live))
            assert live.post().status_code == 200
            until(partial(_keeps, live, before + 1))
        kept = traces(live)
    assert len(set(kept)) == 3
    with start(traces={"dir": tmp_path}) as live:
        assert sorted(traces(live)) == sorted(kept)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["on", "back"])
def test_a_batch_is_worked_off(
    start: Start, wall: Wall, pool: ThreadPoolExecutor, jump: float, tmp_path: Path
) -> None:
    with start(batches={"dir": tmp_path}) as live:
        live.script.hold.clear()
        asked = {"model": "mull-tiny", "messages": [{"role": "user", "content": "What is one plus one?"}]}
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": asked}
        file = live.client.files.create(file=("a.jsonl", json.dumps(line).encode()), purpose="batch")
        batch = live.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        until(lambda: live.script.in_flight == 1)
        wall.ahead = jump
        live.script.hold.set()
        until(lambda: live.client.batches.retrieve(batch.id).status == "completed")
        done = live.client.batches.retrieve(batch.id)
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 0)
