"""Everything around completions: lists, health, keys, ids, metrics, unknown paths."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openai import AuthenticationError

from mull.errors import EngineUnavailable
from mull.server.app import create_app
from mull.server.settings import load

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

ASK: Any = [{"role": "user", "content": "What is one plus one?"}]


def test_strategies_are_listed_with_their_schemas(live: Live) -> None:
    listed = {s["name"]: s for s in live.http.get("/v1/ttc/strategies").json()["data"]}
    beam = listed["beam_search"]
    assert {name: need for name, need in beam["needs"].items() if need} == {
        "verifier": "process",
        "continues": True,
    }
    assert beam["cost"]["at_most"] == {"generations": 640, "scores": 640}
    assert "2408.03314" in beam["source"]
    assert beam["parameters"]["properties"]["width"]["maximum"] == 128
    assert beam["parameters"]["properties"]["width"]["description"]
    assert beam["models"] == ["mull-tiny"]
    assert "level" in beam["description"]
    assert listed["majority_vote"]["needs"]["verifier"] is None
    assert listed["majority_vote"]["cost"] == {
        "model": "n generations",
        "at_most": {"generations": 16, "scores": 0},
    }


def test_verifiers_are_listed_with_their_health(start: Start) -> None:
    with start(down=["prm"]) as live:
        listed = live.http.get("/v1/ttc/verifiers").json()["data"]
        assert [(row["name"], row["kind"], row["healthy"]) for row in listed] == [
            ("orm", "outcome", True),
            ("prm", "process", False),
        ]


def test_a_verifier_that_is_down_is_named(start: Start) -> None:
    with start(down=["prm"]) as live:
        response = live.post(model="mull-tiny+beam_search")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "'prm'" in response.json()["error"]["message"]
        assert response.json()["error"]["code"] == "verifier_unavailable"
        assert live.post(model="mull-tiny+best_of_n").status_code == 200


@pytest.mark.parametrize("strategy", ["best_of_n", "beam_search"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_configured_fallback_answers_and_is_flagged(start: Start, strategy: str, stream: bool) -> None:
    with start(down=["prm", "orm"], fallback="majority_vote") as live:
        client = live.client
        if stream:
            chunks = list(
                client.chat.completions.create(model=f"mull-tiny+{strategy}", messages=ASK, stream=True)
            )
            text = "".join(c.choices[0].delta.content or "" for c in chunks)
            extra = chunks[-1].model_extra
        else:
            done = client.chat.completions.create(model=f"mull-tiny+{strategy}", messages=ASK)
            text, extra = done.choices[0].message.content or "", done.model_extra
        assert extra is not None
        down = "prm" if strategy == "beam_search" else "orm"
        assert extra["ttc"]["fallback"] == {"strategy": "majority_vote", "unavailable": down}
        assert extra["ttc"]["answer"] == "3"
        assert "\\boxed{3}" in text
        assert f'mull_fallbacks_total{{verifier="{down}"}} 1.0' in live.http.get("/metrics").text


def test_the_fallback_votes_among_what_is_there(start: Start) -> None:
    with start(down=["orm"], fallback="majority_vote") as live:
        done = live.post(ttc={"strategy": "best_of_n", "n": 5, "budget": {"samples": 5}}).json()
    assert done["ttc"]["fallback"]["unavailable"] == "orm"
    assert (done["ttc"]["samples"], done["ttc"]["answer"]) == (5, "3")
    assert done["ttc"]["confidence"] == 0.6


def test_without_budget_for_a_fallback_the_verifier_is_to_blame(start: Start) -> None:
    with start(down=["prm"], fallback="majority_vote") as live:
        response = live.post(ttc={"strategy": "beam_search", "budget": {"samples": 16}})
    assert response.status_code == 503
    assert "'prm'" in response.json()["error"]["message"]


def test_an_engine_that_is_down_is_a_503(start: Start) -> None:
    with start() as live:
        live.script.fail = EngineUnavailable("the engine of 'mull-tiny' died")
        response = live.post()
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "engine_unavailable"


def test_what_there_is_when_the_engine_dies_is_the_answer(start: Start) -> None:
    with start() as live:
        live.script.fail, live.script.fail_after_turns = EngineUnavailable("gone"), 4
        response = live.post(ttc={"strategy": "majority_vote", "n": 5, "include": ["candidates"]})
        assert response.status_code == 200
        ttc = response.json()["ttc"]
        assert ttc["stopped"] == "engine"
        assert 0 < len(ttc["candidates"]) < 5
        assert response.json()["choices"][0]["finish_reason"] == "stop"


def test_half_an_answer_is_none(start: Start) -> None:
    """The budget would have been a reason to return it; a dead engine is none."""
    with start() as live:
        live.script.fail, live.script.fail_after_turns = EngineUnavailable("gone"), 3
        response = live.post(ttc={"strategy": "beam_search", "width": 2, "expand": 2})
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "gone"


def test_a_fault_of_ours_is_a_500_that_says_no_more(start: Start) -> None:
    with start() as live:
        live.script.fail = RuntimeError("secret detail")
        response = live.post()
        assert response.status_code == 500
        assert response.json()["error"]["message"] == "internal error"
        assert "x-request-id" in response.headers
        assert 'status="500"' in live.http.get("/metrics").text


def test_health_and_readiness(live: Live) -> None:
    assert live.http.get("/health").json()["status"] == "ok"
    assert live.http.get("/ready").json() == {"status": "ready"}


def test_a_model_that_cannot_start_leaves_the_server_unready(serving: Any) -> None:
    failures = []
    settings = load(None, models={"lost": {"url": "http://127.0.0.1:9"}})
    app = create_app(settings, verifiers={}, on_failure=lambda: failures.append("failed"))
    with serving(app) as url, httpx.Client(base_url=url) as http:
        while not failures:
            assert http.get("/health").status_code == 200
            assert http.get("/ready").status_code == 503
        ready = http.get("/ready")
        answer = http.post("/v1/chat/completions", json={"model": "lost", "messages": ASK})
    assert ready.status_code == answer.status_code == 503
    assert ready.json()["error"]["code"] == "not_ready"
    assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/models/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health", 405),
    ],
)
def test_unknown_paths_and_methods_get_an_openai_error(
    live: Live, method: str, path: str, status: int
) -> None:
    response = live.http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2:3", True), ("a b", False), ("x" * 200, False), ("", False)]
)
def test_the_request_id_is_honoured_when_it_is_sound(live: Live, given: str, kept: bool) -> None:
    returned = live.http.get("/health", headers={"x-request-id": given}).headers["x-request-id"]
    assert (returned == given) is kept
    assert re.fullmatch(r"[\w.:-]{1,128}", returned)


def test_the_request_id_comes_with_errors_and_streams(live: Live) -> None:
    body = {"model": "mull-tiny", "messages": ASK, "stream": True}
    streamed = live.http.post("/v1/chat/completions", json=body, headers={"x-request-id": "mine"})
    assert streamed.headers["x-request-id"] == "mine"
    assert live.http.get("/nothing", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_keys_are_asked_for_where_there_are_any(start: Start) -> None:
    with start(api_keys=["sesame", "open"]) as live:
        url, http = "/v1/models", live.http
        assert http.get(url).status_code == 401
        assert http.get(url).json()["error"]["code"] == "invalid_api_key"
        assert http.get(url).headers["www-authenticate"] == "Bearer"
        assert http.get(url, headers={"authorization": "Bearer sesam"}).status_code == 401
        assert http.get(url, headers={"authorization": "Basic sesame"}).status_code == 401
        assert http.get(url, headers={"authorization": "Bearer sesame"}).status_code == 200
        assert http.get(url, headers={"authorization": "bearer open"}).status_code == 200
        assert live.http.get("/health").status_code == 200
        with pytest.raises(AuthenticationError):
            live.client.models.list()


def test_metrics_count_what_happened(start: Start) -> None:
    with start() as live:
        client = live.client
        done = client.chat.completions.create(model="mull-tiny+best_of_n", messages=ASK)
        text = live.http.get("/metrics").text
    assert done.usage is not None
    assert done.usage.completion_tokens_details is not None
    hidden = done.usage.completion_tokens_details.reasoning_tokens or 0
    labels = 'model="mull-tiny"'
    assert f'mull_requests_total{{{labels},status="200",strategy="best_of_n"}} 1.0' in text
    assert f'mull_tokens_total{{{labels},part="hidden",strategy="best_of_n"}} {float(hidden)}' in text
    shown = done.usage.completion_tokens - hidden
    assert f'mull_tokens_total{{{labels},part="answer",strategy="best_of_n"}} {float(shown)}' in text
    assert 'mull_verifier_calls_total{verifier="orm"} 1.0' in text
    assert f'mull_stops_total{{{labels},reason="complete",strategy="best_of_n"}} 1.0' in text
    assert f"mull_running{{{labels}}} 0.0" in text
    assert "python_info" in text


def test_the_openapi_document_holds_together(live: Live) -> None:
    document = live.http.get("/openapi.json").json()
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]
    assert {"model", "messages", "ttc"} <= body["application/json"]["schema"]["properties"].keys()
    for reference in re.findall(r'"\$ref": ?"#/([^"]+)"', live.http.get("/openapi.json").text):
        part = document
        for key in reference.split("/"):
            part = part[key]
