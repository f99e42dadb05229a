"""What users say of answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

BEAM = {"strategy": "beam_search", "width": 2, "expand": 2}


@pytest.fixture
def live(start: Start, tmp_path: Path) -> Iterator[Live]:
    with start(traces={"dir": tmp_path}) as live:
        yield live


@pytest.fixture
def name(live: Live) -> str:
    """A trace."""
    found: str = live.post(ttc=BEAM).json()["ttc"]["trace_id"]
    return found


def send(live: Live, **body: Any) -> Any:
    return live.http.post("/v1/ttc/feedback", json=body)


@pytest.mark.parametrize(
    "said",
    [
        {"reference": "2"},
        {"right": False},
        {"rating": -1},
        {"rating": 1, "node": 1, "comment": None},
        {"comment": "Danke schön"},
    ],
)
def test_feedback_is_appended_once(live: Live, name: str, tmp_path: Path, said: dict[str, Any]) -> None:
    answers = [send(live, trace_id=name, **said).json() for _ in range(2)]
    assert answers == [{"object": "ttc.feedback", "trace_id": name, "new": new} for new in (True, False)]
    (row,) = map(json.loads, (tmp_path / "feedback.jsonl").read_text("utf-8").splitlines())
    assert row.pop("created") > 0
    assert row == {"trace_id": name} | {key: value for key, value in said.items() if value is not None}


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({}, ""),
        ({"node": 1}, ""),
        ({"rating": 0}, "rating"),
        ({"right": "yes"}, "right"),
        ({"reference": ""}, "reference"),
        ({"comment": 3}, "comment"),
        ({"right": True, "node": -1}, "node"),
        ({"right": True, "node": 9999}, "node"),
        ({"right": True, "correct": True}, "correct"),
    ],
)
def test_wrong_feedback_is_refused_by_name(live: Live, name: str, said: dict[str, Any], param: str) -> None:
    response = send(live, trace_id=name, **said)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    if not param:
        assert "reference, right, rating" in error["message"]


def test_feedback_needs_a_trace_that_is_there(live: Live) -> None:
    response = send(live, trace_id="nothing", right=True)
    assert response.status_code == 404
    assert response.json()["error"]["param"] == "trace_id"
    assert send(live, right=True).json()["error"]["param"] == "trace_id"


def test_the_body_is_json(live: Live) -> None:
    post = live.http.post
    assert post("/v1/ttc/feedback", content="{}", headers={"content-type": "text/plain"}).status_code == 415
    response = post("/v1/ttc/feedback", content="[", headers={"content-type": "application/json"})
    assert response.json()["error"]["code"] == "invalid_json"


def test_without_traces_the_server_says_what_to_configure(start: Start) -> None:
    with start() as live:
        response = send(live, trace_id="x", right=True)
    assert response.status_code == 400
    assert "traces.dir" in response.json()["error"]["message"]


def test_whoever_may_ask_may_give_feedback(start: Start, tmp_path: Path) -> None:
    with start(traces={"dir": tmp_path}, api_keys=["user"]) as live:
        assert send(live, trace_id="x", right=True).status_code == 401
        live.http.headers["Authorization"] = "Bearer user"
        name = live.post().json()["ttc"]["trace_id"]
        assert send(live, trace_id=name, right=True).status_code == 200
