"""The worker over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from mull.errors import InvalidRequest, VerifierUnavailable
from mull.types import Passage
from mull.verifiers.worker import create_app, serve_worker

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "2 + 3?"}], "candidates": [{"text": "5"}]}


JSON = {"Content-Type": "application/json"}
Make = Callable[..., Any]


@pytest_asyncio.fixture
async def verifier(scripted: Make) -> Any:
    return scripted()


@pytest_asyncio.fixture
async def client(verifier: Any, serving: Make) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(create_app(verifier, tokenizer="abc")) as url,
        httpx.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield client


async def test_scores_come_in_the_order_of_the_candidates(client: httpx.AsyncClient, verifier: Any) -> None:
    candidates = [{"text": "5", "finish": "stop"}, {"text": "555", "finish": "step"}]
    answer = await client.post("/v1/score", json={**BODY, "candidates": candidates})
    assert answer.status_code == 200
    assert answer.json() == {
        "verifier": "scripted",
        "kind": "process",
        "tokenizer": "abc",
        "scores": [
            {"value": 0.5, "steps": [0.5, 0.25], "tokens": 1, "known": True},
            {"value": 0.25, "steps": [0.5, 0.25], "tokens": 3, "known": True},
        ],
    }
    ((_, seen),) = verifier.seen
    assert [c.complete for c in seen] == [True, False]


async def test_the_verifier_sees_the_whole_task(client: httpx.AsyncClient, verifier: Any) -> None:
    fields = {
        "messages": [{"role": "user", "content": "2 + 3?", "name": "Ann"}],
        "reference": "5",
        "answer": "boxed",
        "tools": [{"type": "function"}],
        "chat_template_kwargs": {"enable_thinking": False},
        "documents": [{"text": "2 + 3 is 5.", "id": "sums"}, {"text": "unnamed"}],
    }
    assert (await client.post("/v1/score", json={**BODY, **fields})).status_code == 200
    ((task, _),) = verifier.seen
    assert task.chat.messages == ({"role": "user", "content": "2 + 3?", "name": "Ann"},)
    assert (task.reference, task.answer) == ("5", "boxed")
    assert task.chat.tools == ({"type": "function"},)
    assert task.chat.template == {"enable_thinking": False}
    assert task.documents == (Passage(text="2 + 3 is 5.", id="sums"), Passage(text="unnamed"))


@pytest.mark.parametrize(("tokenizer", "used"), [("abc", (7, 8)), ("xyz", ()), (None, ())])
async def test_ids_count_only_for_the_same_tokenizer(
    client: httpx.AsyncClient, verifier: Any, tokenizer: str | None, used: tuple[int, ...]
) -> None:
    body = {**BODY, "candidates": [{"text": "5", "ids": [7, 8]}], "tokenizer": tokenizer}
    assert (await client.post("/v1/score", json=body)).status_code == 200
    assert (verifier.seen[0][1][0].prompt.ids or ()) == used


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages.0.content.str"),
        ({"candidates": []}, "candidates"),
        ({"candidates": [{"text": None}]}, "candidates.0.text"),
        ({"candidates": [{}]}, "candidates.0.text"),
        ({"candidates": [{"text": "\ud800"}]}, "candidates.0.text"),
        ({"candidates": [{"text": "5", "finish": "eos"}]}, "candidates.0.finish"),
        ({"candidates": [{"text": "5", "ids": [-1]}]}, "candidates.0.ids.0"),
        ({"candidates": [{"text": "5", "ids": [2**40]}]}, "candidates.0.ids.0"),
        ({"candidates": [{"text": "5", "ids": ["1"]}]}, "candidates.0.ids.0"),
        ({"candidates": [{"text": "5"}] * 4097}, "candidates"),
        ({"reference": 5}, "reference"),
        ({"model": "x"}, "model"),
    ],
)
async def test_a_bad_request_is_400_and_names_the_field(
    client: httpx.AsyncClient, change: dict[str, Any], param: str
) -> None:
    answer = await client.post("/v1/score", content=json.dumps({**BODY, **change}), headers=JSON)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert param in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'"x"', b"null"])
async def test_what_is_not_even_json_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/score", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/score", 405), ("GET", "/nowhere", 404)])
async def test_other_addresses_answer_with_error_objects(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (
            InvalidRequest("too long", param="messages", code="context_length_exceeded"),
            400,
            "context_length_exceeded",
        ),
        (VerifierUnavailable("verifier 'x' died", name="x"), 503, "verifier_unavailable"),
        (RuntimeError("secret"), 500, "internal_error"),
    ],
)
async def test_the_verifiers_errors(
    client: httpx.AsyncClient, verifier: Any, error: Exception, status: int, code: str
) -> None:
    verifier.error = error
    answer = await client.post("/v1/score", json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "secret" not in answer.text
    assert ("Retry-After" in answer.headers) == (status == 503)


async def test_a_client_that_goes_away_has_its_work_cancelled(
    client: httpx.AsyncClient, verifier: Any
) -> None:
    verifier.gate.clear()
    request = asyncio.create_task(client.post("/v1/score", json=BODY))
    await verifier.asked.wait()
    request.cancel()
    async with asyncio.timeout(10):
        await verifier.cancelled.wait()
    verifier.gate.set()
    assert (await client.post("/v1/score", json=BODY)).status_code == 200


async def test_metrics(client: httpx.AsyncClient) -> None:
    await client.post("/v1/score", json={**BODY, "candidates": [{"text": "55"}, {"text": "555"}]})
    await client.post("/v1/score", json={})
    text = (await client.get("/metrics")).text
    for line in (
        'mull_verifier_requests_total{status="200"} 1.0',
        'mull_verifier_requests_total{status="400"} 1.0',
        "mull_verifier_candidates_total 2.0",
        "mull_verifier_tokens_total 5.0",
        "mull_verifier_batch_candidates_sum 2.0",
        "mull_verifier_request_seconds_count 2.0",
        "mull_verifier_waiting_candidates 0.0",
    ):
        assert line in text


async def test_health_tells_what_it_is_and_whether_it_works(serving: Make, scripted: Make) -> None:
    down = False

    async def check() -> None:
        if down:
            raise VerifierUnavailable("verifier 'scripted' died", name="scripted")

    async with (
        serving(create_app(scripted(), tokenizer="abc", check=check)) as url,
        httpx.AsyncClient() as client,
    ):
        answer = await client.get(url + "/health")
        assert answer.json() == {
            "status": "ok",
            "verifier": "scripted",
            "kind": "process",
            "tokenizer": "abc",
        }
        down = True
        answer = await client.get(url + "/health")
        assert (answer.status_code, answer.json()["error"]["message"]) == (503, "verifier 'scripted' died")


async def test_stopping_finishes_what_is_under_way_and_closes(serving: Make, scripted: Make) -> None:
    verifier, closed = scripted(), asyncio.Event()
    verifier.gate.clear()

    async def close() -> None:
        closed.set()

    async with httpx.AsyncClient(timeout=30) as client:
        async with serving(create_app(verifier, close=close)) as url:
            request = asyncio.create_task(client.post(url + "/v1/score", json=BODY))
            await verifier.asked.wait()
            asyncio.get_running_loop().call_later(0.2, verifier.gate.set)
        assert (await request).status_code == 200
    assert closed.is_set()


async def test_a_taken_port_is_found_out_before_the_model_is_loaded(serving: Make, scripted: Make) -> None:
    async with serving(create_app(scripted())) as url:
        with pytest.raises(OSError, match="ddress already in use"):
            await serve_worker("no-such-model", "prm", port=int(url.rpartition(":")[2]))


async def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="kind"):
        await serve_worker("no-such-model", "oracle", port=0)
