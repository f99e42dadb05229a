"""Finished requests are kept and can be read again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Fixed, Live, Start

KEY = "open sesame"
ADMIN = {"Authorization": f"Bearer {KEY}"}
BEAM = {"strategy": "beam_search", "width": 2, "expand": 2, "reference": "2"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_ADMIN_KEY", KEY)


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Settings of where traces are kept."""
    if request.param == "folder":
        return {"traces": {"dir": tmp_path / "kept"}}
    return {"store": {"url": request.getfixturevalue("database")}}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted(folder.glob("traces-*")) for line in path.read_text().splitlines()
    ]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read(live: Live, name: str) -> dict[str, Any]:
    response = live.http.get(f"/v1/ttc/traces/{name}", headers=ADMIN)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_search_is_kept_with_all_that_can_be_learned_from_it(start: Start, tmp_path: Path) -> None:
    with start(traces={"dir": tmp_path / "kept"}) as live:
        done = live.post(ttc=BEAM | {"include": ["trace"]}).json()
        found = read(live, done["ttc"]["trace_id"])
    (line,) = lines(tmp_path / "kept")
    assert {**line, "object": "ttc.trace", "feedback": []} == found
    ttc = done["ttc"]
    assert line["status"] == "finished"
    assert line["model"] == "mull-tiny"
    assert line["created"] == done["created"]
    assert line["strategy"] == "beam_search"
    assert line["parameters"] == ttc["parameters"]
    assert line["verifier"] == {"name": "prm", "kind": "process", "version": "given"}
    assert line["messages"] == [{"role": "user", "content": "What is one plus one?"}]
    assert line["reference"] == "2"
    assert (line["answer"], line["score"], line["stopped"]) == (ttc["answer"], ttc["score"], ttc["stopped"])
    assert line["text"] == done["choices"][0]["message"]["content"]
    assert line["usage"]["completion_tokens"] == done["usage"]["completion_tokens"]
    assert line["nodes"] == ttc["trace"]
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "kept").iterdir())


def test_a_trace_can_be_read_as_soon_as_its_answer_is_there(start: Start, place: dict[str, Any]) -> None:
    with start(**place) as live:
        for _ in range(20):
            name = live.post().json()["ttc"]["trace_id"]
            assert read(live, name)["id"] == name
            rows = live.http.get("/v1/ttc/traces?limit=1", headers=ADMIN).json()["data"]
            assert rows[0]["id"] == name


def test_streamed_requests_are_kept_too(start: Start, tmp_path: Path) -> None:
    with start(traces={"dir": tmp_path}) as live:
        live.post(stream=True, ttc={"strategy": "majority_vote", "n": 3})
    (line,) = lines(tmp_path)
    assert line["strategy"] == "majority_vote"
    assert line["verifier"] is None
    assert sum(node["finish"] == "stop" for node in line["nodes"]) == 3


def test_without_text_only_figures_are_kept(start: Start, tmp_path: Path) -> None:
    with start(traces={"dir": tmp_path, "text": False}) as live:
        live.post(ttc=BEAM)
    (path,) = tmp_path.glob("traces-*")
    assert "one" not in path.read_text().lower()
    assert "boxed" not in path.read_text()
    (line,) = lines(tmp_path)
    assert line["score"] > 0
    assert len(line["nodes"]) > 2


def test_failed_and_cancelled_requests_are_flagged(
    start: Start, scripted: type[Fixed], tmp_path: Path
) -> None:
    from mull.errors import EngineUnavailable

    script = scripted()
    with start(script=script, traces={"dir": tmp_path}) as live:
        script.fail = EngineUnavailable("gone")
        assert live.post().status_code == 503
        script.fail, script.turns, script.hold_at = None, 0, 1
        with live.http.stream(
            "POST",
            "/v1/chat/completions",
            json={
                "model": "mull-tiny",
                "stream": True,
                "messages": [{"role": "user", "content": "What is one plus one?"}],
            },
        ) as response:
            next(response.iter_bytes())
        until(lambda: len(lines(tmp_path)) == 2)
        script.hold.set()
    failed, cancelled = lines(tmp_path)
    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "engine_unavailable", "message": "gone"}
    assert cancelled["status"] == "cancelled"
    assert cancelled["answer"] is None


def test_refused_requests_leave_no_trace(start: Start, tmp_path: Path) -> None:
    with start(traces={"dir": tmp_path}) as live:
        assert live.post(temperature=9).status_code == 400
    assert lines(tmp_path) == []


def test_traces_are_listed_newest_first_page_by_page(start: Start, place: dict[str, Any]) -> None:
    with start(**place) as live:
        names = [live.post().json()["ttc"]["trace_id"] for _ in range(5)]
        first = live.http.get("/v1/ttc/traces?limit=3", headers=ADMIN).json()
        rest = live.http.get(f"/v1/ttc/traces?limit=3&after={names[2]}", headers=ADMIN).json()
    assert [row["id"] for row in first["data"]] == names[:1:-1]
    assert [row["id"] for row in rest["data"]] == names[1::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert first["data"][0]["strategy"] == "single"
    assert first["data"][0]["nodes"] == 2
    assert "messages" not in first["data"][0]


def test_traces_outlive_the_server(start: Start, place: dict[str, Any]) -> None:
    with start(**place) as live:
        name = live.post(ttc=BEAM).json()["ttc"]["trace_id"]
        live.http.post("/v1/ttc/feedback", json={"trace_id": name, "right": True})
    with start(**place) as live:
        again = live.post().json()["ttc"]["trace_id"]
        assert read(live, name)["strategy"] == "beam_search"
        assert read(live, name)["feedback"][0]["right"] is True
        listed = live.http.get("/v1/ttc/traces", headers=ADMIN).json()["data"]
    assert [row["id"] for row in listed] == [again, name]


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("/v1/ttc/traces/nothing", 404, "trace_id"),
        ("/v1/ttc/traces?after=nothing", 404, "after"),
        ("/v1/ttc/traces?limit=0", 400, "limit"),
        ("/v1/ttc/traces?limit=1001", 400, "limit"),
        ("/v1/ttc/traces?limit=many", 400, "limit"),
    ],
)
def test_wrong_questions_are_refused_by_name(
    start: Start, place: dict[str, Any], path: str, status: int, param: str
) -> None:
    with start(**place) as live:
        response = live.http.get(path, headers=ADMIN)
    assert response.status_code == status
    assert response.json()["error"]["param"] == param


def test_without_a_folder_the_server_says_what_to_configure(start: Start) -> None:
    with start() as live:
        assert live.post().status_code == 200
        response = live.http.get("/v1/ttc/traces", headers=ADMIN)
    assert response.status_code == 400
    assert "traces.dir" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "invalid_api_key"),
        ({"Authorization": "Basic abc"}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer wrong"}, 403, "admin_key_required"),
        ({"Authorization": "Bearer user"}, 403, "admin_key_required"),
    ],
)
def test_the_list_of_traces_is_for_administrators(
    start: Start, tmp_path: Path, headers: dict[str, str], status: int, code: str
) -> None:
    with start(traces={"dir": tmp_path}, api_keys=["user"]) as live:
        response = live.http.get("/v1/ttc/traces", headers=headers)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code


def test_without_an_administrators_key_nobody_passes(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MULL_ADMIN_KEY")
    monkeypatch.setenv("OTHER_KEY", KEY)
    with start(traces={"dir": tmp_path}) as live:
        response = live.http.get("/v1/ttc/traces", headers=ADMIN)
    assert response.status_code == 403
    assert "MULL_ADMIN_KEY" in response.json()["error"]["message"]
    with start(traces={"dir": tmp_path}, admin_key_env="OTHER_KEY") as live:
        assert live.http.get("/v1/ttc/traces", headers=ADMIN).status_code == 200


async def test_a_folder_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    from mull.server.app import create_app
    from mull.server.settings import load

    (tmp_path / "file").touch()
    failures: list[str] = []
    settings = load(None, traces={"dir": tmp_path / "file"})
    app = create_app(settings, generators={}, verifiers={}, on_failure=lambda: failures.append("failed"))
    with pytest.raises(OSError, match="File exists"):
        async with app.router.lifespan_context(app):
            pass
    assert failures == ["failed"]
