"""Anthropic's Messages API on the wire, event by event as its SDK reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mull.errors import EngineUnavailable

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

BEST = "One and one\n\\boxed{2}"
ASK = [{"role": "user", "content": "What is one plus one?"}]
CALLING = '<think>Add them.</think>Let me see.<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
IMAGE = {"type": "image", "source": {"type": "url", "url": "http://images/1.png"}}
RESULT = {"type": "tool_result", "tool_use_id": "a"}
ADD = [{"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}]


def post(live: Live, *, headers: dict[str, str] | None = None, **body: Any) -> Any:
    given = {"model": "mull-tiny", "max_tokens": 60, "messages": ASK}
    return live.http.post("/v1/messages", json={**given, **body}, headers=headers or {})


def events(live: Live, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream; each frame's name is its event's type."""
    found = []
    for frame in post(live, stream=True, **body).text.split("\n\n"):
        if frame:
            name, data = frame.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
    return found


def said(block: dict[str, Any], role: str = "user") -> dict[str, Any]:
    """A body with one block."""
    return {"messages": [{"role": role, "content": [block]}]}


def test_a_question_gets_a_message(start: Start) -> None:
    with start() as live:
        done = post(live, metadata={"user_id": "u"}).json()
        spent = live.script.usage
    assert (done["type"], done["role"], done["model"]) == ("message", "assistant", "mull-tiny")
    assert done["id"].startswith("msg_")
    assert done["content"] == [{"type": "text", "text": BEST}]
    assert (done["stop_reason"], done["stop_sequence"]) == ("end_turn", None)
    assert done["usage"]["output_tokens"] == spent.completion
    assert done["usage"]["input_tokens"] + done["usage"]["cache_read_input_tokens"] == spent.prompt
    assert done["ttc"]["answer"] == "2"


def test_the_strategy_is_chosen_as_in_chat(live: Live) -> None:
    assert post(live, ttc={"strategy": "best_of_n", "n": 5}).json()["ttc"]["score"] == 0.9
    assert post(live, model="mull-tiny+majority_vote").json()["ttc"]["strategy"] == "majority_vote"


@pytest.mark.parametrize(
    ("asked", "strategy"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "single"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "majority_vote"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, "best_of_n"),
        ({"output_config": {"effort": "medium"}}, "majority_vote"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "best_of_n"),
        ({"thinking": {"type": "disabled"}}, "single"),
    ],
)
def test_thinking_is_an_effort(start: Start, asked: dict[str, Any], strategy: str) -> None:
    with start(efforts={"low": "single", "medium": "majority_vote", "high": "best_of_n"}) as live:
        assert post(live, **asked).json()["ttc"]["strategy"] == strategy


def test_the_conversation_and_the_settings_reach_the_engine(start: Start) -> None:
    turns = [
        *ASK,
        {"role": "assistant", "content": [{"type": "text", "text": "Two."}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    with start() as live:
        post(live, messages=turns, system=system, stop_sequences=["###"], temperature=0.5, top_p=0.9, top_k=5)
        chat, sampling = live.script.chats[0], live.script.seen[0]
    assert [(m["role"], m["content"]) for m in chat.messages] == [
        ("system", "Be brief."),
        ("user", "What is one plus one?"),
        ("assistant", "Two."),
        ("user", "a\nb"),
    ]
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 5)
    assert (sampling.max_tokens, sampling.stop) == (60, ("###",))


def test_what_is_cut_off_says_max_tokens(live: Live) -> None:
    done = post(live, max_tokens=11).json()
    assert done["stop_reason"] == "max_tokens"
    assert done["content"][0]["text"] == "One and one"


def test_events_come_in_anthropics_order(live: Live) -> None:
    found = events(live, ttc={"strategy": "best_of_n", "n": 5})
    kinds = [event["type"] for event in found]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert found[0]["message"]["content"] == []
    assert found[0]["message"]["ttc"]["strategy"] == "best_of_n"
    assert "".join(event["delta"]["text"] for event in found[2:-3]) == BEST
    assert {event["index"] for event in found[1:-2]} == {0}
    assert found[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert found[-2]["usage"]["output_tokens"] > len(BEST)
    assert found[-2]["ttc"]["answer"] == "2"


def test_nodes_are_told_and_silence_is_a_ping(start: Start, scripted: Any) -> None:
    script = scripted()
    with start(script=script, heartbeat=0.02) as live:
        script.hold.clear()
        body = {"model": "mull-tiny", "max_tokens": 60, "messages": ASK, "stream": True}
        body["ttc"] = {"strategy": "majority_vote", "n": 3, "progress": "nodes"}
        told = b""
        with live.http.stream("POST", "/v1/messages", json=body) as reply:
            for part in reply.iter_bytes():
                told += part
                if b"event: ping" in told:
                    script.hold.set()
    assert told.count(b"event: ttc_node") >= 3


def test_a_failure_in_mid_stream_is_an_error_event(start: Start, scripted: Any) -> None:
    script = scripted()
    with start(script=script) as live:
        script.fail, script.fail_after_turns = EngineUnavailable("the scripted engine is gone"), 5
        last = events(live)[-1]
    assert last["type"] == "error"
    assert last["error"]["type"] == "overloaded_error"
    assert "gone" in last["error"]["message"]


def test_tokens_are_counted_without_answering(start: Start) -> None:
    with start() as live:
        body = {"model": "mull-tiny", "messages": ASK}
        counted = live.http.post("/v1/messages/count_tokens", json=body).json()
        assert live.script.calls == 0
        spent = post(live).json()["usage"]
    assert counted == {"input_tokens": spent["input_tokens"] + spent["cache_read_input_tokens"]}


def test_the_key_comes_in_either_header(start: Start) -> None:
    with start(api_keys=["sesame"]) as live:
        assert post(live, headers={"x-api-key": "sesame"}).status_code == 200
        assert post(live, headers={"Authorization": "Bearer sesame"}).status_code == 200
        refused = post(live, headers={"x-api-key": "mellon"})
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"max_tokens": None}, "max_tokens", "required"),
        ({"messages": []}, "messages", "non-empty list"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role", "one of"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            "messages[0].content",
            "'document'",
        ),
        (said({"type": "text"}), "messages[0].content[0].text", "required"),
        (said({"type": "text", "text": {"a": 1}}), "messages[0].content[0].text", "a string"),
        (said({"type": "text", "text": "a", "colour": 1}), "messages[0].content[0].colour", "unknown field"),
        (said({"type": "image", "source": 5}), "messages[0].content[0].source", "an object"),
        (said({"type": "thinking", "thinking": 5}), "messages[0].content[0].thinking", "a string"),
        (
            said({"type": "tool_use", "id": "a", "name": "b", "input": 5}),
            "messages[0].content[0].input",
            "an object",
        ),
        (said(RESULT | {"content": 5}), "messages[0].content[0].content", "a string or a list of blocks"),
        (said(RESULT | {"content": [RESULT]}), "messages[0].content[0].content", "only text, image"),
        (said(IMAGE, role="assistant"), "messages[0].content", "images are for messages of role 'user'"),
        ({"system": [IMAGE]}, "system", "only text"),
        ({"temperature": 1.5}, "temperature", "from 0 to 1"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers", "only the client"),
        ({"container": "c"}, "container", "no code"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "thinking", "not configured here"),
        ({"output_config": {"effort": "max"}}, "output_config.effort", "not configured here"),
        ({"ttc": {"progress": True}}, "ttc.progress", "nodes"),
        ({"n": 2}, "n", "unknown field"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "needs tools"),
        ({"tools": ADD, "tool_choice": {"type": "tool"}}, "tool_choice", "must be"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0].input_schema", "required"),
    ],
)
def test_what_is_wrong_is_named(start: Start, body: dict[str, Any], param: str, says: str) -> None:
    with start(efforts={"none": "single"}) as live:
        reply = post(live, **body)
    assert reply.status_code == 400, reply.text
    told = reply.json()
    assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
    assert told["error"]["param"] == param
    assert says in told["error"]["message"]


def test_a_crash_has_anthropics_shape_too(start: Start, scripted: Any) -> None:
    script = scripted()
    script.fail = RuntimeError("no such thing")
    with start(script=script) as live:
        reply = post(live)
    assert reply.status_code == 500
    assert reply.json() == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": "internal error",
            "param": None,
            "code": "internal_error",
        },
    }


def test_a_wrong_method_is_named_in_anthropics_shape(live: Live) -> None:
    reply = live.http.get("/v1/messages")
    assert (reply.status_code, reply.json()["type"]) == (405, "error")


def test_an_unknown_model_is_a_404_in_anthropics_shape(live: Live) -> None:
    reply = post(live, model="claude")
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "not_found_error")


# -- thoughts and tools -----------------------------------------------------------------------------------

THINKS = {"models": {"mull-tiny": {"path": "unused", "reasoning": "think"}}}


def test_thoughts_and_calls_are_blocks_of_their_own(start: Start, scripted: Any) -> None:
    with start(script=scripted((CALLING,)), **THINKS) as live:
        done = post(live, tools=ADD, max_tokens=100).json()
        thought, said, call = done["content"]
        result = {
            "type": "tool_result",
            "tool_use_id": call["id"],
            "content": [{"type": "text", "text": "3"}],
        }
        turns = [
            *ASK,
            {"role": "assistant", "content": done["content"]},
            {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
        ]
        quiet = post(live, tools=ADD, max_tokens=100, thinking={"type": "adaptive", "display": "omitted"})
        post(live, tools=ADD, max_tokens=100, messages=turns)
        chat = live.script.chats[-1]
    assert thought == {"type": "thinking", "thinking": "Add them.", "signature": ""}
    assert said == {"type": "text", "text": "Let me see."}
    assert call == {"type": "tool_use", "id": call["id"], "name": "add", "input": {"a": 1}}
    assert done["stop_reason"] == "tool_use"
    assert [block["type"] for block in quiet.json()["content"]] == ["text", "tool_use"]
    assert [message["role"] for message in chat.messages] == ["user", "assistant", "tool", "user"]
    turn, told, asked = chat.messages[1:]
    assert (turn["content"], turn["reasoning"]) == ("Let me see.", "Add them.")
    assert turn["tool_calls"][0]["id"] == told["tool_call_id"] == call["id"]
    assert (told["content"], asked["content"]) == ("3", "So?")
    assert chat.tools[0]["function"]["name"] == "add"


def test_thoughts_and_calls_stream_as_blocks(start: Start, scripted: Any) -> None:
    with start(script=scripted((CALLING,)), **THINKS) as live:
        found = events(live, tools=ADD, max_tokens=100, tool_choice={"type": "auto"})
    opened = [event["content_block"]["type"] for event in found if event["type"] == "content_block_start"]
    assert opened == ["thinking", "text", "tool_use"]
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == "Add them."
    assert "".join(delta.get("text", "") for delta in deltas) == "Let me see."
    assert json.loads("".join(delta.get("partial_json", "") for delta in deltas)) == {"a": 1}
    assert [e["index"] for e in found if e["type"] == "content_block_stop"] == [0, 1, 2]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
