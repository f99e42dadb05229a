"""Server-sent events: their grammar, their timing and what the SDK makes of them."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from openai import APIError

from mull.errors import EngineUnavailable

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

ASK: Any = [{"role": "user", "content": "What is one plus one?"}]
BEST = "One and one\n\\boxed{2}"
STRATEGIES = ["single", "majority_vote", "best_of_n", "weighted_best_of_n", "beam_search"]


def events(live: Live, **body: Any) -> list[Any]:
    """The events of a stream, `[DONE]` as text; asserts their grammar."""
    request = {"model": "mull-tiny", "messages": ASK, "stream": True, **body}
    response = live.http.post("/v1/chat/completions", json=request)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *blocks, rest = response.text.split("\n\n")
    assert rest == ""
    found: list[Any] = []
    for block in blocks:
        assert "\n" not in block
        if block.startswith(":"):
            continue
        assert block.startswith("data: ")
        data = block.removeprefix("data: ")
        found.append(data if data == "[DONE]" else json.loads(data))
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_grammar_of_a_stream(live: Live, strategy: str) -> None:
    found = events(live, ttc={"strategy": strategy})
    assert found.count("[DONE]") == 1
    assert found.pop() == "[DONE]"
    assert {c["object"] for c in found} == {"chat.completion.chunk"}
    assert len({(c["id"], c["created"], c["model"]) for c in found}) == 1
    first, *middle, last = found
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["ttc"]["strategy"] == strategy
    assert all(c["choices"][0]["finish_reason"] is None and "ttc" not in c for c in (first, *middle))
    assert all(c["choices"][0]["delta"].keys() == {"content"} for c in middle)
    assert all("usage" not in c for c in found)
    assert len(middle) > 3, "the answer comes in pieces"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stream_says_what_the_json_says(live: Live, strategy: str) -> None:
    ttc = {"strategy": strategy}
    whole = live.http.post(
        "/v1/chat/completions", json={"model": "mull-tiny", "messages": ASK, "ttc": ttc}
    ).json()
    found = events(live, ttc=ttc, stream_options={"include_usage": True})
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in found[:-2])
    assert text == whole["choices"][0]["message"]["content"]
    different = ("seconds", "trace_id")
    streamed = {k: v for k, v in found[-3]["ttc"].items() if k not in different}
    assert streamed == {k: v for k, v in whole["ttc"].items() if k not in different}
    assert found[-2]["usage"] == whole["usage"]


def test_one_usage_chunk_when_asked(live: Live) -> None:
    *chunks, usage, done = events(live, stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len(BEST) + 1
    assert all(c["usage"] is None for c in chunks)


def test_several_choices_are_streamed_under_their_index(live: Live) -> None:
    found = events(live, n=3, ttc={"strategy": "best_of_n", "n": 5})[:-1]
    texts = {0: "", 1: "", 2: ""}
    for chunk in found:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts[0] == BEST
    assert len(set(texts.values())) == 3
    finished = [c["choices"][0]["index"] for c in found if c["choices"][0]["finish_reason"]]
    assert finished == [0, 1, 2]
    assert sum("ttc" in c for c in found) == 1


@pytest.mark.parametrize("strategy", ["single", "best_of_n", "beam_search"])
def test_logprobs_go_with_their_tokens(live: Live, strategy: str) -> None:
    found = events(live, logprobs=True, ttc={"strategy": strategy})[1:-2]
    contents = [c["choices"][0]["delta"]["content"] for c in found]
    tokens = [[t["token"] for t in c["choices"][0]["logprobs"]["content"]] for c in found]
    assert "".join(contents) == BEST
    assert ["".join(each) for each in tokens] == contents
    assert sum(map(len, tokens)) == len(BEST) + 1


def test_progress_is_told_only_when_asked(live: Live) -> None:
    found = events(live, ttc={"strategy": "best_of_n", "n": 3, "progress": True})[:-1]
    lines = [c["choices"][0]["delta"]["reasoning"] for c in found if "reasoning" in c["choices"][0]["delta"]]
    assert sum("scored" in line for line in lines) == 3
    assert len(lines) == 6
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in found) == BEST


def test_the_nodes_of_a_search_are_told_whole_after_what_was_planned(live: Live) -> None:
    asked = {"strategy": "best_of_n", "n": 3, "progress": "nodes", "include": ["trace"]}
    found = events(live, ttc=asked)[:-1]
    plan, end = found[0]["ttc"], found[-1]["ttc"]
    assert plan["strategy"] == "best_of_n"
    assert plan["parameters"]["n"] == 3
    assert plan == {name: end[name] for name in plan}
    told: dict[int, dict[str, Any]] = {}
    for chunk in found[1:-1]:
        if "ttc" in chunk:
            told[chunk["ttc"]["node"]["id"]] = chunk["ttc"]["node"]
    assert list(told.values()) == end["trace"][1:]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in found) == BEST


def test_the_role_comes_at_once_and_heartbeats_fill_the_silence(start: Start) -> None:
    with start(heartbeat=0.02) as live:
        live.script.hold.clear()
        request = {"model": "mull-tiny+best_of_n", "messages": ASK, "stream": True}
        with live.http.stream("POST", "/v1/chat/completions", json=request, timeout=10) as response:
            lines = (line for line in response.iter_lines() if line)
            assert (
                json.loads(next(lines).removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
            )
            assert [next(lines) for _ in range(3)] == [": searching"] * 3
            live.script.hold.set()
            rest = [line for line in lines if not line.startswith(":")]
        assert rest[-1] == "data: [DONE]"


def test_single_is_streamed_while_it_is_generated(start: Start) -> None:
    with start(heartbeat=0.02) as live:
        request = {"model": "mull-tiny", "messages": ASK, "stream": True}
        first_seen = threading.Event()
        live.script.hold.clear()
        with live.http.stream("POST", "/v1/chat/completions", json=request, timeout=10) as response:
            seen = ""
            live.script.hold.set()
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    seen += json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "")
                    if seen == "O":
                        first_seen.set()
        assert first_seen.is_set(), "the first token came alone"
        assert seen == BEST


def test_the_shared_prefix_of_a_search_is_streamed_while_it_goes_on(start: Start) -> None:
    with start(heartbeat=0.02) as live:
        live.script.hold_at = 17  # sixteen first steps are done, the second level waits
        request = {"model": "mull-tiny+beam_search", "messages": ASK, "stream": True}
        with live.http.stream("POST", "/v1/chat/completions", json=request, timeout=10) as response:
            lines = (line for line in response.iter_lines() if line.startswith("data: {"))
            next(lines)
            early = json.loads(next(lines).removeprefix("data: "))["choices"][0]["delta"]["content"]
            while live.script.hold.is_set():
                time.sleep(0.005)
            live.script.hold.set()
            rest = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in lines]
        assert early == "One"
        assert early + "".join(delta.get("content", "") for delta in rest) == BEST


def test_an_error_in_mid_stream_is_an_event_and_ends_it_once(start: Start) -> None:
    with start() as live:
        live.script.fail = EngineUnavailable("the engine of 'mull-tiny' died")
        live.script.fail_after_turns = 7
        *chunks, error, done = events(live)
        assert done == "[DONE]"
        assert "[DONE]" not in chunks
        assert error == {
            "error": {
                "message": "the engine of 'mull-tiny' died",
                "type": "server_error",
                "param": None,
                "code": "engine_unavailable",
            }
        }
        live.script.fail_after_turns = 7
        client, seen = live.client, ""
        with pytest.raises(APIError, match="died"):  # noqa: PT012
            for chunk in client.chat.completions.create(model="mull-tiny", messages=ASK, stream=True):
                seen += chunk.choices[0].delta.content or ""
        assert seen == "One and"


def test_a_fault_of_ours_in_mid_stream_tells_nothing_about_itself(start: Start) -> None:
    with start() as live:
        live.script.fail = RuntimeError("secret detail")
        live.script.fail_after_turns = 7
        *_, error, done = events(live)
        assert done == "[DONE]"
        assert error["error"]["message"] == "internal error"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_sdk_reads_the_stream(live: Live, strategy: str) -> None:
    stream = live.client.chat.completions.create(
        model=f"mull-tiny+{strategy}", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks).startswith("One")
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["ttc"]["strategy"] == strategy
    assert last.usage is not None
    assert last.usage.completion_tokens >= 7


async def test_the_asynchronous_sdk_reads_the_stream(live: Live) -> None:
    async with live.async_client() as client:
        stream = await client.chat.completions.create(model="mull-tiny+careful", messages=ASK, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
    assert text == BEST


def test_the_sdks_stream_helper_assembles_the_completion(live: Live) -> None:
    with live.client.chat.completions.stream(model="mull-tiny+best_of_n", messages=ASK) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == BEST
    assert final.choices[0].finish_reason == "stop"
