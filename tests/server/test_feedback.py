"""What users say of answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mull.server.feedback import Feedback, FeedbackLog

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

BEAM = {"strategy": "beam_search", "width": 2, "expand": 2}


@pytest.fixture(params=["folder", "store"])
def live(start: Start, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Live]:
    if request.param == "folder":
        place: dict[str, Any] = {"traces": {"dir": tmp_path}}
    else:
        place = {"store": {"url": request.getfixturevalue("database")}}
    with start(**place) as live:
        yield live


in_a_folder = pytest.mark.parametrize("live", ["folder"], indirect=True)
in_the_store = pytest.mark.parametrize("live", ["store"], indirect=True)


@pytest.fixture
def name(live: Live) -> str:
    """A trace."""
    found: str = live.post(ttc=BEAM).json()["ttc"]["trace_id"]
    return found


def send(live: Live, **body: Any) -> Any:
    return live.http.post("/v1/ttc/feedback", json=body)


SAID = pytest.mark.parametrize(
    "said",
    [
        {"reference": "2"},
        {"right": False},
        {"rating": -1},
        {"rating": 1, "node": 1, "comment": None},
        {"comment": "Danke schön"},
    ],
)


@in_a_folder
@SAID
def test_feedback_is_appended_once(live: Live, name: str, tmp_path: Path, said: dict[str, Any]) -> None:
    answers = [send(live, trace_id=name, **said).json() for _ in range(2)]
    assert answers == [{"object": "ttc.feedback", "trace_id": name, "new": new} for new in (True, False)]
    (row,) = map(json.loads, (tmp_path / "feedback.jsonl").read_text("utf-8").splitlines())
    assert row.pop("created") > 0
    assert row == {"trace_id": name} | {key: value for key, value in said.items() if value is not None}


@in_the_store
@SAID
def test_feedback_is_stored_once(live: Live, name: str, said: dict[str, Any]) -> None:
    answers = [send(live, trace_id=name, **said).json() for _ in range(2)]
    assert answers == [{"object": "ttc.feedback", "trace_id": name, "new": new} for new in (True, False)]
    (row,) = live.http.get(f"/v1/ttc/traces/{name}").json()["feedback"]
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


@in_a_folder
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


def test_the_file_is_cut_down_to_what_counts(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    log = FeedbackLog(path, most=2000)
    for n in range(200):
        assert log.add(Feedback(trace_id="a", comment=f"{n % 2} {'x' * 50}"))
    assert log.add(Feedback(trace_id="b", right=True))
    assert path.stat().st_size < 2200
    again = FeedbackLog(path)
    again.open(not_before=0)
    assert [row["comment"][0] for row in again.of("a")] == ["1"]
    assert again.of("b")[0]["right"] is True
    assert path.stat().st_mode & 0o777 == 0o600


def test_where_no_text_is_kept_none_is_taken(start: Start, tmp_path: Path) -> None:
    with start(traces={"dir": tmp_path, "text": False}) as live:
        trace = live.post(ttc=BEAM).json()["ttc"]["trace_id"]
        refused = live.http.post("/v1/ttc/feedback", json={"trace_id": trace, "reference": "6"})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "reference"
        kept = live.http.post("/v1/ttc/feedback", json={"trace_id": trace, "right": True})
        assert kept.json()["new"] is True
