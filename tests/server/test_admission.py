"""Overload, limits and usage, over the wire."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from mull.server.callers import KeyLimits
from mull.server.keyfile import KeyEntry, changing, digest_of

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

QUESTION = [{"role": "user", "content": "What is one plus one?"}]


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def metric(live: Live, name: str) -> float:
    lines = live.http.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


def keys(path: Path, **limits: dict[str, Any]) -> Path:
    with changing(path) as kept:
        for name, given in limits.items():
            role = given.pop("role", "user")
            kept.append(
                KeyEntry(
                    name=name,
                    digest=digest_of(name.encode()),
                    role=role,
                    created=1,
                    limits=KeyLimits(**given),
                )
            )
    return path


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": QUESTION}),
        ("/v1/completions", {"prompt": "One"}),
        ("/v1/responses", {"input": "What is one plus one?"}),
        ("/v1/messages", {"messages": QUESTION, "max_tokens": 50}),
    ],
)
def test_what_there_is_no_room_for_is_refused_at_once(
    start: Start, pool: ThreadPoolExecutor, path: str, body: dict[str, Any], stream: bool
) -> None:
    with start(admission={"running": 1, "queued": 1}) as live:
        live.script.hold.clear()
        first = pool.submit(live.post)
        until(lambda: live.script.in_flight == 1)
        second = pool.submit(live.post)
        until(lambda: metric(live, "mull_waiting") == 1)
        calls = live.script.calls, len(live.script.chats)
        refused = live.http.post(path, json={"model": "mull-tiny", "stream": stream} | body)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        error = refused.json()["error"]
        assert error["code"] == "overloaded"
        assert error["type"] == ("overloaded_error" if path == "/v1/messages" else "server_error")
        assert (live.script.calls, len(live.script.chats)) == calls, "a refused request costs no work"
        live.script.hold.set()
        assert [each.result().status_code for each in (first, second)] == [200, 200]
        assert metric(live, 'mull_refused_total{reason="overloaded"}') == 1
        assert metric(live, "mull_waiting") == metric(live, "mull_admitted_weight") == 0


def test_a_waiting_client_that_leaves_is_forgotten(start: Start, pool: ThreadPoolExecutor) -> None:
    with start(admission={"running": 1, "queued": 1}) as live:
        live.script.hold.clear()
        first = pool.submit(live.post)
        until(lambda: live.script.in_flight == 1)
        with pytest.raises(httpx.ReadTimeout):
            live.http.post(
                "/v1/chat/completions", json={"model": "mull-tiny", "messages": QUESTION}, timeout=0.3
            )
        until(lambda: metric(live, "mull_waiting") == 0)
        live.script.hold.set()
        assert first.result().status_code == 200
        assert live.script.calls == 1


def test_a_stream_that_waited_begins_with_its_own_status(start: Start, pool: ThreadPoolExecutor) -> None:
    with start(admission={"running": 1}, heartbeat=0.02) as live:
        live.script.hold.clear()
        first = pool.submit(live.post)
        until(lambda: live.script.in_flight == 1)
        # The engine refuses it when its turn has come, many heartbeats later.
        long = [{"role": "user", "content": "x" * 5000}]
        second = pool.submit(live.post, stream=True, messages=long)
        until(lambda: metric(live, "mull_waiting") == 1)
        time.sleep(0.1)
        live.script.hold.set()
        assert first.result().status_code == 200
        assert second.result().status_code == 400


def test_limits_of_a_key(start: Start, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    path = keys(
        tmp_path / "keys", ann={"concurrent": 1}, bob={"tokens_per_minute": 60}, root={"role": "admin"}
    )
    with start(keys_file=path) as live:
        body = {"model": "mull-tiny", "messages": QUESTION}

        def post(key: str, **more: Any) -> httpx.Response:
            return live.http.post("/v1/chat/completions", json=body | more, headers=bearer(key))

        live.script.hold.clear()
        first = pool.submit(post, "ann")
        until(lambda: live.script.in_flight == 1)
        refused = post("ann")
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
        assert refused.headers["retry-after"]
        live.script.hold.set()
        assert first.result().status_code == 200
        prompts = {"model": "mull-tiny", "prompt": ["One", "One plus"]}
        assert live.http.post("/v1/completions", json=prompts, headers=bearer("ann")).status_code == 200
        spent = 0
        while (answered := post("bob", ttc={"strategy": "majority_vote"})).status_code == 200:
            spent += answered.json()["usage"]["completion_tokens"]
            assert spent < 2000
        assert answered.status_code == 429
        assert answered.json()["error"]["code"] == "token_rate_limit_exceeded"
        seconds = int(answered.headers["retry-after"])
        assert seconds == pytest.approx(spent - 60, abs=3 + 0.2 * spent)
        own = live.http.get("/v1/ttc/usage", headers=bearer("bob")).json()["data"]
        everybody = live.http.get("/v1/ttc/usage", headers=bearer("root")).json()["data"]
        assert [row["key"] for row in own] == ["bob"]
        assert own[0]["completion_tokens"] == spent
        assert {row["key"]: row["refused"] for row in everybody} == {"ann": 1, "bob": 1}
        assert live.http.get("/v1/ttc/usage").status_code == 401
        assert metric(live, 'mull_key_tokens_total{key="bob",part="completion"}') == spent
        assert metric(live, 'mull_key_requests_total{key="ann"}') == 3


def test_under_pressure_budgets_are_smaller_and_say_so(start: Start, pool: ThreadPoolExecutor) -> None:
    degrade = {"above": 0.5, "factor": 0.5, "levels": 1}
    with start(admission={"running": 32, "degrade": degrade}) as live:
        vote = {"strategy": "majority_vote", "n": 16}
        alone = live.post(ttc=vote).json()["ttc"]
        assert "degraded" not in alone
        live.script.hold.clear()
        first = pool.submit(live.post, ttc=vote)
        until(lambda: live.script.in_flight == 16)
        second = pool.submit(live.post, ttc=vote)
        until(lambda: live.script.in_flight > 16)
        live.script.hold.set()
        assert first.result().json()["ttc"]["samples"] == 16
        degraded = second.result().json()["ttc"]
    assert degraded["degraded"] == {"factor": 0.5}
    assert (degraded["samples"], degraded["stopped"], degraded["budget"]["samples"]) == (8, "samples", 8)


def test_the_scores_of_verifiers_wait_too(start: Start, pool: ThreadPoolExecutor) -> None:
    with start(admission={"running": 1, "queued": 0}) as live:
        live.script.hold.clear()
        first = pool.submit(live.post)
        until(lambda: live.script.in_flight == 1)
        body = {"model": "orm", "query": "What?", "documents": ["2", "3"]}
        assert live.http.post("/v1/rerank", json=body).status_code == 503
        live.script.hold.set()
        assert first.result().status_code == 200
        assert live.http.post("/v1/rerank", json=body).status_code == 200


def test_a_batch_waits_and_is_not_refused(start: Start, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    path = keys(tmp_path / "keys", ann={"concurrent": 1, "tokens_per_minute": 10**6})
    with start(
        keys_file=path, admission={"running": 1, "queued": 0}, batches={"dir": tmp_path / "batches"}
    ) as live:
        live.http.headers.update(bearer("ann"))
        live.script.hold.clear()
        first = pool.submit(live.post)
        until(lambda: live.script.in_flight == 1)
        lines = [
            {
                "custom_id": str(i),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "mull-tiny", "messages": QUESTION},
            }
            for i in range(3)
        ]
        content = "\n".join(map(json.dumps, lines)).encode()
        file = live.http.post(
            "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)}
        ).json()
        made = live.http.post(
            "/v1/batches",
            json={
                "input_file_id": file["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            },
        ).json()
        until(lambda: metric(live, "mull_waiting") == 3)
        live.script.hold.set()
        assert first.result().status_code == 200
        until(lambda: live.http.get(f"/v1/batches/{made['id']}").json()["status"] == "completed")
        done = live.http.get(f"/v1/batches/{made['id']}").json()
    assert done["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
