"""The whole: a real server process, real vLLM, the bundled models, the stock SDK."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Server

STRATEGIES: list[Any] = [
    {"strategy": "single"},
    {"strategy": "majority_vote", "n": 4},
    {"strategy": "best_of_n", "n": 4},
    {"strategy": "weighted_best_of_n", "n": 4},
    {"strategy": "beam_search", "width": 2, "expand": 2},
    {"strategy": "beam_search", "width": 2, "expand": 2, "verifier": "prm"},
]
each_strategy = pytest.mark.parametrize(
    "ttc", STRATEGIES, ids=["-".join(s[k] for k in ("strategy", "verifier") if k in s) for s in STRATEGIES]
)

CALM = 0.2
"""A temperature at which the small model keeps to the form of its answers, and samples still differ."""

FOREVER: Any = {"max_tokens": 400, "ignore_eos": True, "ttc": {"strategy": "majority_vote", "n": 64}}
"""A search that would go on for much longer than a test waits for its end."""


@each_strategy
def test_the_sdk_gets_an_answer_and_its_true_cost(server: Server, ask: Any, ttc: Any) -> None:
    names = ("generation_tokens_total", "prompt_tokens_total", "prompt_tokens_cached_total")
    before = [server.metric(f"vllm:{name}") for name in names]
    done = server.client.chat.completions.create(
        model="mull-tiny", messages=ask, temperature=CALM, seed=1, extra_body={"ttc": ttc}
    )
    assert done.choices[0].finish_reason == "stop"
    assert "\\boxed{" in (done.choices[0].message.content or "")
    assert done.model_extra is not None
    assert done.model_extra["ttc"]["strategy"] == ttc["strategy"]
    assert done.model_extra["ttc"]["answer"]
    usage = done.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    billed = [usage.completion_tokens, usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens]
    assert billed == [server.metric(f"vllm:{name}") - b for name, b in zip(names, before, strict=True)]
    hidden = usage.completion_tokens_details.reasoning_tokens or 0
    assert (hidden > 0) is (ttc["strategy"] != "single")


@each_strategy
async def test_the_asynchronous_sdk(server: Server, ask: Any, ttc: Any) -> None:
    async with server.async_client() as client:
        done = await client.chat.completions.create(
            model="mull-tiny", messages=ask, temperature=CALM, seed=2, extra_body={"ttc": ttc}
        )
    assert "\\boxed{" in (done.choices[0].message.content or "")


@each_strategy
def test_a_stream_says_what_the_json_says(server: Server, ask: Any, ttc: Any) -> None:
    create: Callable[..., Any] = server.client.chat.completions.create
    request = {"model": "mull-tiny", "messages": ask, "seed": 7, "extra_body": {"ttc": ttc}}
    whole = create(**request)
    *chunks, last = create(**request, stream=True, stream_options={"include_usage": True})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 3
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].model_extra["ttc"]["answer"] == whole.model_extra["ttc"]["answer"]
    assert last.usage.completion_tokens == whole.usage.completion_tokens


async def test_the_asynchronous_sdk_streams(server: Server, ask: Any) -> None:
    request: Any = {"model": "mull-tiny+careful", "messages": ask, "seed": 3}
    async with server.async_client() as client:
        stream = await client.chat.completions.create(**request, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        whole = await client.chat.completions.create(**request)
    assert text == whole.choices[0].message.content


def test_sampling_settings_are_honoured(server: Server, ask: Any) -> None:
    create: Callable[..., Any] = server.client.chat.completions.create
    greedy = create(model="mull-tiny", messages=ask, temperature=0).choices[0].message.content
    again = create(model="mull-tiny", messages=ask, temperature=0)
    assert again.choices[0].message.content == greedy
    top = create(model="mull-tiny", messages=ask, temperature=1.5, extra_body={"top_k": 1})
    assert top.choices[0].message.content == greedy
    cut = create(model="mull-tiny", messages=ask, max_completion_tokens=3)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)
    line = create(model="mull-tiny", messages=ask, temperature=0, stop="\n").choices[0]
    assert line.message.content == greedy.split("\n")[0]
    assert line.finish_reason == "stop"


def test_logprobs_add_up_to_the_text(server: Server, ask: Any) -> None:
    for ttc in STRATEGIES:
        done = server.client.chat.completions.create(
            model="mull-tiny", messages=ask, logprobs=True, top_logprobs=2, extra_body={"ttc": ttc}
        )
        content = done.choices[0].logprobs and done.choices[0].logprobs.content
        assert content
        assert "".join(token.token for token in content).startswith(done.choices[0].message.content or "?")
        assert all(token.logprob <= 0 and len(token.top_logprobs) >= 2 for token in content)


def test_n_returns_distinct_candidates(server: Server, ask: Any) -> None:
    done = server.client.chat.completions.create(
        model="mull-tiny", messages=ask, n=3, seed=5, extra_body={"ttc": {"strategy": "best_of_n", "n": 16}}
    )
    assert len({choice.message.content for choice in done.choices}) == len(done.choices) == 3


def test_a_token_budget_is_hard(server: Server, ask: Any) -> None:
    done = server.client.chat.completions.create(
        model="mull-tiny",
        messages=ask,
        max_tokens=60,
        extra_body={"ttc": {"strategy": "best_of_n", "n": 16, "budget": {"tokens": 100}}},
    )
    assert done.usage is not None
    assert done.usage.completion_tokens <= 100
    assert done.model_extra is not None
    assert done.model_extra["ttc"]["stopped"] == "tokens"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_prompt_too_long_is_refused(server: Server, stream: bool) -> None:
    long = [{"role": "user", "content": "apples " * 3000}]
    response = server.http.post(
        "/v1/chat/completions", json={"model": "mull-tiny", "messages": long, "stream": stream}
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_killed_client_leaves_no_request_in_the_engine(
    server: Server, ask: Any, until: Any, stream: bool
) -> None:
    body = {"model": "mull-tiny", "messages": ask, "stream": stream, **FOREVER}
    url = f"{server.url}/v1/chat/completions"
    program = f"import httpx; httpx.post({url!r}, json={body!r}, timeout=None)"
    client = subprocess.Popen([sys.executable, "-c", program])
    try:
        until(lambda: server.metric("vllm:num_requests_running") > 0, server)
        assert client.poll() is None
    finally:
        client.kill()
        client.wait()
    # Unattended the engine would be busy for minutes.
    until(lambda: server.metric("vllm:num_requests_running") == 0, server, seconds=20)
    assert server.metric("vllm:num_requests_waiting") == 0
    assert server.http.get("/ready").status_code == 200


def test_the_lists_are_complete(server: Server) -> None:
    names = {model.id for model in server.client.models.list()}
    assert {"mull-tiny", "mull-tiny+beam_search", "mull-tiny+careful"} <= names
    strategies = {s["name"] for s in server.http.get("/v1/ttc/strategies").json()["data"]}
    assert {s["strategy"] for s in STRATEGIES} <= strategies
    verifiers = {v["name"]: v["healthy"] for v in server.http.get("/v1/ttc/verifiers").json()["data"]}
    assert verifiers == {"solver": True, "prm": True, "worker": True}


def test_a_killed_verifier_worker_is_named(server: Server, ask: Any) -> None:
    request = {
        "model": "mull-tiny",
        "messages": ask,
        "ttc": {"strategy": "best_of_n", "n": 2, "verifier": "worker"},
    }
    before = server.http.post("/v1/chat/completions", json=request)
    assert before.status_code == 200, before.text
    server.worker.kill()
    after = server.http.post("/v1/chat/completions", json=request)
    assert after.status_code == 503
    assert "worker" in after.json()["error"]["message"]
    assert json.loads(after.text)["error"]["code"] == "verifier_unavailable"
    verifiers = {v["name"]: v["healthy"] for v in server.http.get("/v1/ttc/verifiers").json()["data"]}
    assert verifiers == {"solver": True, "prm": True, "worker": False}
    request["ttc"] = {"strategy": "best_of_n", "n": 2}
    assert server.http.post("/v1/chat/completions", json=request).status_code == 200
