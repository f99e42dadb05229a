"""Engines and verifiers that talk nonsense: a clean error for the client, exact bills, nothing left over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.engines.hostile import STREAM, Answer, Hostile, as_json, hostile, raw, reset, stream, whole

from mull.engines.remote import RemoteGenerator
from mull.server.app import create_app
from mull.server.settings import load
from mull.testing import ScriptedGenerator, World
from mull.verifiers.remote import RemoteVerifier

QUESTION = [{"role": "user", "content": "Take 1, 3 times."}]
BUDGET = 40


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": finish, "text": text, "token_ids": [7]}]}


def usage(completion: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": completion}}


@dataclass
class Far:
    """A server whose model, or whose verifier, is a hostile one."""

    upstream: Hostile
    http: httpx.AsyncClient

    async def ask(self, **body: Any) -> httpx.Response:
        given = {"model": "far", "messages": QUESTION, "max_tokens": 16} | body
        return await self.http.post("/v1/chat/completions", json=given)

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))


@asynccontextmanager
async def far(upstream: Hostile, **given: Any) -> AsyncIterator[Far]:
    app = create_app(load(None, models={"far": {"url": upstream.url}}), **given)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://server", timeout=30) as http,
    ):
        yield Far(upstream, http)


@pytest.fixture
async def model() -> AsyncIterator[Far]:
    """Its model is a hostile one."""
    async with hostile(vllm=True) as upstream:
        remote = await RemoteGenerator.connect(upstream.url, model="m", timeout=1.0)
        async with far(upstream, generators={"far": remote}, verifiers={}) as made:
            yield made
        await remote.close()


@pytest.fixture
async def judged() -> AsyncIterator[Far]:
    """Its verifier is a hostile one."""
    async with hostile() as upstream:
        judge = RemoteVerifier("judge", [upstream.url], kind="outcome", timeout=1.0)
        world = ScriptedGenerator(World(), model="far")
        async with far(upstream, generators={"far": world}, verifiers={"judge": judge}) as made:
            yield made
        await judge.close()


def shown(upstream: Hostile, text: str) -> str:
    """A text that clients are shown, in which no address may be."""
    assert str(upstream.port) not in text
    assert "127.0.0.1" not in text
    return text


BAD: dict[str, Answer] = {
    "reset in the middle": reset(STREAM, *(b"data: " + each + b"\n\n" for each in as_json([piece("ab")]))),
    "never a finish": stream(*as_json([piece("a"), piece("b"), usage(2), b"[DONE]"])),
    "truncated JSON": stream(b'{"choices": [{"index": 0, "te'),
    "an error in mid-stream": stream(*as_json([piece("a"), {"error": {"message": "no", "code": 500}}])),
    "no HTTP": raw(b"hello\r\n\r\n"),
    "deep JSON": stream(b"[" * 100_000),
    "infinite usage": stream(
        *as_json(
            [
                piece("a", "stop"),
                b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1e999}}',
            ]
        )
    ),
    "negative usage": stream(*as_json([piece("a", "stop"), usage(-50), b"[DONE]"])),
    "absurd usage": stream(*as_json([piece("a", "stop"), usage(10**12), b"[DONE]"])),
}


@pytest.mark.parametrize("strategy", ["single", "majority_vote"])
@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
async def test_a_bad_answer_is_a_503_that_names_the_model(model: Far, answer: Answer, strategy: str) -> None:
    model.upstream.answer = answer
    chosen = {"n": 4} if strategy == "majority_vote" else {}
    response = await model.ask(ttc={"strategy": strategy, "budget": {"tokens": BUDGET}} | chosen)
    assert response.status_code == 503, response.text
    error = response.json()["error"]
    assert error["code"] == "engine_unavailable"
    assert "'m'" in shown(model.upstream, error["message"])
    assert int(response.headers["retry-after"]) >= 1
    assert 0 <= await model.metric("mull_tokens_total") <= BUDGET
    assert await model.metric("mull_running") == 0
    assert (await model.http.get("/v1/ttc/running")).json()["data"] == []


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
async def test_a_stream_that_cannot_go_on_says_so(model: Far, answer: Answer) -> None:
    model.upstream.answer = answer
    response = await model.ask(stream=True)
    text = shown(model.upstream, response.text)
    if response.status_code == 503:
        assert response.json()["error"]["code"] == "engine_unavailable"
        return
    assert response.status_code == 200
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert events[-1]["error"]["code"] == "engine_unavailable"
    assert text.count("[DONE]") == 1
    assert not any(c["finish_reason"] for e in events for c in e.get("choices", ())), (
        "half an answer has ended"
    )


async def test_what_came_of_a_torn_answer_is_billed(model: Far) -> None:
    parts = as_json([piece("a"), piece("b"), piece("c")])
    model.upstream.answer = reset(STREAM, *(b"data: " + each + b"\n\n" for each in parts))
    assert (await model.ask()).status_code == 503
    assert await model.metric("mull_tokens_total") == 3
    model.upstream.answer = stream(*as_json([piece("\\boxed{1}", "stop"), usage(1), b"[DONE]"]))
    answered = (await model.ask()).json()
    assert answered["usage"]["completion_tokens"] == 1
    assert await model.metric("mull_tokens_total") == 4


def told(body: str) -> Answer:
    data = body.encode()
    return raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)


SCORES: dict[str, Answer] = {
    "no number": told(
        '{"verifier": "v", "kind": "outcome", "scores": [' + ", ".join(['{"value": NaN}'] * 4) + "]}"
    ),
    "infinite": told(
        '{"verifier": "v", "kind": "outcome", "scores": [' + ", ".join(['{"value": 1e999}'] * 4) + "]}"
    ),
    "too few": whole({"verifier": "v", "kind": "outcome", "scores": [{"value": 0.5}]}),
    "reset": reset(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"),
}


@pytest.mark.parametrize("answer", SCORES.values(), ids=SCORES)
async def test_bad_scores_are_a_503_that_names_the_verifier(judged: Far, answer: Answer) -> None:
    judged.upstream.answer = answer
    ttc = {"strategy": "best_of_n", "n": 4, "verifier": "judge"}
    response = await judged.ask(max_tokens=100, ttc=ttc)
    assert response.status_code == 503, response.text
    error = response.json()["error"]
    assert error["code"] == "verifier_unavailable"
    assert "'judge'" in shown(judged.upstream, error["message"])
    assert await judged.metric("mull_verifier_errors_total") == 1
    assert await judged.metric("mull_running") == 0
