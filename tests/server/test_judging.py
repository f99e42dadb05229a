"""POST /v1/score and POST /v1/rerank over the verifiers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from mull.errors import InvalidRequest
from mull.server.app import create_app
from mull.server.settings import load
from mull.types import Candidate, Score, Task, VerifierKind

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

ASK = [{"role": "user", "content": "What is one plus one?"}]


def score(live: Live, **body: Any) -> Any:
    reply = live.http.post("/v1/score", json={"model": "orm"} | body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_one_question_is_paired_with_every_answer(live: Live) -> None:
    found = score(live, text_1="1 + 1?", text_2=["2", "3"])
    assert found["object"] == "list"
    assert found["model"] == "orm"
    assert [(row["index"], row["object"]) for row in found["data"]] == [(0, "score"), (1, "score")]
    assert [row["score"] for row in found["data"]] == [0.9, 0.4]
    assert found["usage"] == {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}


def test_questions_and_answers_pair_up_in_order(live: Live) -> None:
    found = score(live, text_1=["1 + 1?", "1 + 2?"], text_2=["3", "it is 2"])
    assert [row["score"] for row in found["data"]] == [0.4, 0.9]


def test_a_process_verifier_gives_the_scores_of_steps(live: Live) -> None:
    found = score(live, model="prm", messages=ASK, candidates=["no\nit is 2"])
    assert found["data"][0]["steps"] == [0.4, 0.9]
    assert found["data"][0]["score"] == 0.4
    last = score(live, model="prm", messages=ASK, candidates=["no\nit is 2"], aggregate="last")
    assert last["data"][0]["score"] == 0.9


def test_a_candidate_can_say_how_it_ended(live: Live) -> None:
    candidates = [{"text": "2", "finish": "length"}, "2"]
    assert len(score(live, messages=ASK, candidates=candidates)["data"]) == 2


def test_rules_and_composites_judge_too(start: Start) -> None:
    verifiers = {
        "orm": {"kind": "orm", "model": "unused"},
        "prm": {"kind": "prm", "model": "unused"},
        "both": {"kind": "composite", "of": ["orm", "prm"]},
    }
    with start(verifiers=verifiers) as live:
        found = score(live, model="both", messages=ASK, candidates=["2", "3"])
    assert [row["score"] for row in found["data"]] == pytest.approx([0.81, 0.16])


def test_documents_are_ranked_best_first(live: Live) -> None:
    body = {"model": "orm", "query": "1 + 1?", "documents": ["3", {"text": "2"}, "4", "it is 2"]}
    found = live.http.post("/v1/rerank", json=body).json()
    assert [row["index"] for row in found["results"]] == [1, 3, 0, 2]
    assert found["results"][0] == {"index": 1, "relevance_score": 0.9, "document": {"text": "2"}}
    assert found["usage"]["total_tokens"] == 10
    few = live.http.post("/v1/rerank", json={**body, "top_n": 1, "return_documents": False}).json()
    assert few["results"] == [{"index": 1, "relevance_score": 0.9}]


@pytest.mark.parametrize("path", ["/v1/score", "/v1/rerank"])
def test_an_unknown_verifier_is_a_404_that_names_those_there_are(live: Live, path: str) -> None:
    body: dict[str, Any] = {"model": "luck"}
    body |= {"text_1": "a", "text_2": "b"} if path == "/v1/score" else {"query": "a", "documents": ["b"]}
    reply = live.http.post(path, json=body)
    assert reply.status_code == 404
    assert reply.json()["error"]["param"] == "model"
    assert "orm or prm" in reply.json()["error"]["message"]


def test_a_verifier_that_is_down_is_a_503_that_names_it(start: Start) -> None:
    with start(down=("orm",)) as live:
        reply = live.http.post("/v1/score", json={"model": "orm", "text_1": ["a", "c"], "text_2": ["b", "d"]})
        metrics = live.http.get("/metrics").text
    assert reply.status_code == 503
    assert 'mull_verifier_calls_total{verifier="orm"} 2.0' in metrics
    assert reply.headers["retry-after"] == "1"
    assert "orm" in reply.json()["error"]["message"]


def test_what_a_verifier_lacks_is_a_400_that_names_it(
    scripted: Any, serving: Callable[[Any], AbstractContextManager[str]]
) -> None:
    app = create_app(load(), generators={"mull-tiny": scripted()}, verifiers={"exact": Refusing()})
    with serving(app) as url:
        reply = httpx.post(f"{url}/v1/score", json={"model": "exact", "text_1": "a", "text_2": "b"})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "reference"


def test_time_is_limited(scripted: Any, serving: Callable[[Any], AbstractContextManager[str]]) -> None:
    slow = Hanging()
    settings = load(limits={"seconds": 0.05})
    app = create_app(settings, generators={"mull-tiny": scripted()}, verifiers={"slow": slow})
    with serving(app) as url:
        reply = httpx.post(f"{url}/v1/rerank", json={"model": "slow", "query": "a", "documents": ["b"]})
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "verifier_unavailable"
    assert "0.05 seconds" in reply.json()["error"]["message"]
    assert slow.cancelled


def test_a_client_that_leaves_is_not_judged_for(
    scripted: Any, serving: Callable[[Any], AbstractContextManager[str]]
) -> None:
    slow = Hanging()
    app = create_app(load(), generators={"mull-tiny": scripted()}, verifiers={"slow": slow})
    with serving(app) as url:
        body = {"model": "slow", "text_1": "a", "text_2": "b"}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/score", json=body, timeout=httpx.Timeout(20, read=0.5))
        deadline = time.monotonic() + 10
        while not slow.cancelled and time.monotonic() < deadline:
            time.sleep(0.005)
        assert slow.cancelled


def test_judging_is_counted(start: Start) -> None:
    with start() as live:
        score(live, text_1="1 + 1?", text_2=["2", "3"])
        metrics = live.http.get("/metrics").text
    assert 'mull_verifier_calls_total{verifier="orm"} 1.0' in metrics
    assert 'mull_verifier_tokens_total{verifier="orm"} 2.0' in metrics


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, "messages", "either messages and candidates, or text_1 and text_2"),
        ({"messages": ASK, "text_1": "a", "text_2": "b"}, "text_2", "either"),
        ({"messages": ASK}, "candidates", "required with messages"),
        ({"candidates": ["a"]}, "messages", "required with candidates"),
        ({"text_2": "a"}, "text_1", "required with text_2"),
        ({"text_1": ["a", "b"], "text_2": ["c"]}, "text_1", "as many as text_2 has: 1, not 2"),
        ({"text_1": "a", "text_2": []}, "text_2", "a non-empty list"),
        (
            {"messages": ASK, "candidates": [{"text": "a", "finish": "never"}]},
            "candidates[0].finish",
            "one of",
        ),
        ({"text_1": "a", "text_2": "b", "answer": "riddle"}, "answer", "boxed"),
        ({"text_1": "a", "text_2": "b", "aggregate": "most"}, "aggregate", "one of"),
        ({"text_1": "a", "text_2": "b", "mood": 1}, "mood", "unknown field"),
    ],
)
def test_what_is_wrong_is_named(live: Live, body: dict[str, Any], param: str, says: str) -> None:
    reply = live.http.post("/v1/score", json={"model": "orm"} | body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param
    assert says in reply.json()["error"]["message"]


def test_a_key_is_needed_where_there_are_keys(start: Start) -> None:
    with start(api_keys=["sesame"]) as live:
        body = {"model": "orm", "text_1": "a", "text_2": "2"}
        assert live.http.post("/v1/score", json=body).status_code == 401
        keyed = live.http.post("/v1/score", json=body, headers={"Authorization": "Bearer sesame"})
    assert keyed.status_code == 200


class Refusing:
    """A verifier that wants a reference."""

    name = "exact"
    kind: VerifierKind = "outcome"

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        raise InvalidRequest("verifier 'exact' needs a reference answer", param="reference")


class Hanging:
    """A verifier that does not answer."""

    name = "slow"
    kind: VerifierKind = "outcome"
    cancelled = False

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True
        raise AssertionError
