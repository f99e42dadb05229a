"""The Responses API, as the stock SDK sees it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.responses import Response
from openai.types.responses.response_stream_event import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from mull.errors import EngineUnavailable
from mull.server.callers import Caller
from mull.server.responses.store import Kept, ResponseStore
from mull.server.settings import ResponseSettings

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

BEST = "One and one\n\\boxed{2}"
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def ask(live: Live, **body: Any) -> Any:
    extra = {"extra_body": {"ttc": body.pop("ttc")}} if "ttc" in body else {}
    return live.client.responses.create(
        **{"model": "mull-tiny", "input": "What is one plus one?", **body, **extra}
    )


def post(live: Live, **body: Any) -> Any:
    return live.http.post("/v1/responses", json={"model": "mull-tiny", "input": "x"} | body)


def test_a_question_gets_a_response(start: Start) -> None:
    with start() as live:
        done = ask(live, metadata={"run": "1"}, user="someone")
        spent = live.script.usage
    assert done.object == "response"
    assert done.id.startswith("resp_")
    assert done.status == "completed"
    assert done.output_text == BEST
    assert [item.type for item in done.output] == ["message"]
    assert done.output[0].status == "completed"
    assert done.metadata == {"run": "1"}
    assert done.usage.input_tokens == spent.prompt
    assert done.usage.output_tokens == spent.completion
    assert done.ttc["strategy"] == "single"
    assert done.ttc["answer"] == "2"


def test_the_shape_is_openais_to_the_letter(live: Live) -> None:
    body = post(live, include=["message.output_text.logprobs"]).json()
    parsed = Response.model_validate(body)
    assert parsed.output_text == BEST
    kept = live.http.get(f"/v1/responses/{parsed.id}").json()
    assert kept == body


@pytest.mark.parametrize("how", ["field", "alias", "effort"])
def test_the_strategy_is_chosen_as_in_chat(start: Start, how: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "field": {"ttc": {"strategy": "best_of_n", "n": 5}},
        "alias": {"model": "mull-tiny+best_of_n"},
        "effort": {"reasoning": {"effort": "high"}},
    }
    with start(efforts={"high": "best_of_n"}) as live:
        done = ask(live, **bodies[how])
    assert done.ttc["strategy"] == "best_of_n"
    assert done.ttc["score"] == 0.9
    assert 0 < done.usage.output_tokens_details.reasoning_tokens < done.usage.output_tokens


def test_what_is_cut_off_is_incomplete(live: Live) -> None:
    done = ask(live, max_output_tokens=11)
    assert done.status == "incomplete"
    assert done.incomplete_details.reason == "max_output_tokens"
    assert done.output_text == "One and one"
    assert done.output[0].status == "incomplete"


def test_items_become_messages(start: Start) -> None:
    image = {"type": "input_text", "text": "b"}
    given = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, image]},
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "status": "completed",
            "content": [{"type": "output_text", "text": "c", "annotations": []}],
        },
        {"role": "user", "content": "d"},
    ]
    with start() as live:
        ask(live, input=given, instructions="Be brief.", max_output_tokens=30, temperature=0.5, top_p=0.9)
        chat, sampling = live.script.chats[0], live.script.seen[0]
    assert [(m["role"], m["content"]) for m in chat.messages] == [
        ("system", "Be brief."),
        ("system", "Be kind."),
        ("user", "a\nb"),
        ("assistant", "c"),
        ("user", "d"),
    ]
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (30, 0.5, 0.9)


def test_log_probabilities_come_on_request(live: Live) -> None:
    done = ask(live, include=["message.output_text.logprobs"], top_logprobs=2)
    tokens = done.output[0].content[0].logprobs
    assert "".join(token.token for token in tokens) == BEST
    assert [(t.token, t.logprob) for t in tokens[0].top_logprobs] == [("O", -0.1), ("b", -1.1)]


# -- going on ---------------------------------------------------------------------------------------------


def test_a_conversation_goes_on_from_a_response(start: Start) -> None:
    with start() as live:
        one = ask(live, input="first", instructions="Be brief.")
        two = ask(live, input="second", previous_response_id=one.id)
        ask(live, input="third", previous_response_id=two.id)
        chat = live.script.chats[-1]
        listed = live.client.responses.input_items.list(two.id, order="asc")
    said = [(m["role"], m["content"]) for m in chat.messages]
    # Instructions are those of one response alone.
    assert said == [
        ("user", "first"),
        ("assistant", BEST),
        ("user", "second"),
        ("assistant", BEST),
        ("user", "third"),
    ]
    assert two.previous_response_id == one.id
    items: Any = listed.data
    assert [item.role for item in items] == ["user", "assistant", "user"]
    assert len({item.id for item in items}) == 3


def test_the_output_can_be_sent_back_as_input(start: Start) -> None:
    with start() as live:
        one = ask(live, input="first", store=False)
        again = [{"role": "user", "content": "first"}, *one.output, {"role": "user", "content": "second"}]
        ask(live, input=again)
        chat = live.script.chats[-1]
    assert [m["content"] for m in chat.messages] == ["first", BEST, "second"]


def test_items_are_listed_page_by_page(live: Live) -> None:
    given = [{"role": "user", "content": text} for text in "abc"]
    done = ask(live, input=given)
    listed: Any = live.client.responses.input_items.list(done.id, limit=2)
    assert [item.content[0].text for item in listed] == ["c", "b", "a"]
    page = live.http.get(f"/v1/responses/{done.id}/input_items", params={"limit": "2"}).json()
    assert page["has_more"] is True
    assert len(page["data"]) == 2
    for wrong in ({"limit": "0"}, {"order": "best"}, {"after": "nobody"}):
        reply = live.http.get(f"/v1/responses/{done.id}/input_items", params=wrong)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, next(iter(wrong)))


def test_a_response_can_be_read_and_forgotten(live: Live) -> None:
    done = ask(live)
    assert live.client.responses.retrieve(done.id).output_text == BEST
    live.client.responses.delete(done.id)
    with pytest.raises(NotFoundError):
        live.client.responses.retrieve(done.id)
    with pytest.raises(NotFoundError):
        live.client.responses.delete(done.id)
    with pytest.raises(BadRequestError) as refused:
        ask(live, previous_response_id=done.id)
    assert refused.value.code == "previous_response_not_found"
    assert refused.value.param == "previous_response_id"


def test_nothing_is_kept_where_store_is_false(live: Live) -> None:
    done = ask(live, store=False)
    with pytest.raises(NotFoundError):
        live.client.responses.retrieve(done.id)


def test_only_the_key_that_made_a_response_reads_it(start: Start) -> None:
    with start(api_keys=["ada", "bob"]) as live:
        ada, bob = (OpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0) for key in ("ada", "bob"))
        with ada, bob:
            done = ada.responses.create(model="mull-tiny", input="x")
            assert ada.responses.retrieve(done.id).id == done.id
            for read in (
                lambda: bob.responses.retrieve(done.id),
                lambda: bob.responses.delete(done.id),
                lambda: bob.responses.input_items.list(done.id),
            ):
                with pytest.raises(NotFoundError):
                    read()
            with pytest.raises(BadRequestError):
                bob.responses.create(model="mull-tiny", input="x", previous_response_id=done.id)
            assert ada.responses.retrieve(done.id).id == done.id


def kept(size: int = 1) -> Kept:
    return Kept(response={}, items=(), owner=None, size=size)


def test_the_store_has_a_bound_of_each_kind() -> None:
    now = 0.0
    settings = ResponseSettings(max_count=2, max_age_hours=1, max_bytes=100)
    store = ResponseStore(settings, clock=lambda: now)

    def there(*names: str) -> list[bool]:
        found = []
        for name in names:
            try:
                found.append(store.get(name, Caller()) is not None)
            except Exception:
                found.append(False)
        return found

    for name in "abc":
        store.put(name, kept())
    assert there("a", "b", "c") == [False, True, True]
    store.put("d", kept(99))
    assert there("b", "c", "d") == [False, True, True]
    store.put("e", kept(50))
    assert there("c", "d", "e") == [False, False, True]
    now = 3601.0
    assert there("e") == [False]
    store.put("f", kept(101))
    assert there("f") == [False]


# -- thoughts and tools -----------------------------------------------------------------------------------

ADD = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}
CALLING = (
    "<think>Add them.</think>Let me see."
    '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    '<tool_call>{"name": "add", "arguments": {"a": 2}}</tool_call>'
)
THINKS = {"models": {"mull-tiny": {"path": "unused", "reasoning": "think"}}}


def test_thoughts_and_calls_are_items_of_their_own(start: Start, scripted: Any) -> None:
    with start(script=scripted((CALLING,)), **THINKS) as live:
        body = post(live, tools=[ADD]).json()
        tool_choice: Any = {"type": "function", "name": "add"}
        chosen = post(live, tools=[ADD], tool_choice=tool_choice).json()
        summarised = post(live, tools=[ADD], reasoning={"summary": "auto"}).json()
        shown = live.script.chats[0].tools
    done = Response.model_validate(body)
    thought, said, one, two = done.output
    assert thought.type == "reasoning"
    assert [part.text for part in thought.content or ()] == ["Add them."]
    assert thought.summary == []
    assert done.output_text == "Let me see."
    assert said.type == "message"
    assert one.type == two.type == "function_call"
    assert (one.name, json.loads(one.arguments), json.loads(two.arguments)) == ("add", {"a": 1}, {"a": 2})
    assert one.call_id != two.call_id
    assert done.status == "completed"
    assert shown[0]["function"]["name"] == "add"
    assert chosen["tool_choice"] == tool_choice
    assert summarised["output"][0]["summary"] == [{"type": "summary_text", "text": "Add them."}]
    assert summarised["output"][0]["content"] == []


def test_a_tools_result_goes_back_with_what_was_said(start: Start, scripted: Any) -> None:
    tools: Any = [ADD]
    with start(script=scripted((CALLING,)), **THINKS) as live:
        one = ask(live, tools=tools, input="first")
        results = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "3"}
            for item in one.output
            if item.type == "function_call"
        ]
        ask(live, tools=tools, input=results, previous_response_id=one.id)
        ask(live, tools=tools, input=[{"role": "user", "content": "first"}, *one.output, *results])
        kept, sent = live.script.chats[-2:]
    assert kept.messages == sent.messages
    assert [message["role"] for message in kept.messages] == ["user", "assistant", "tool", "tool"]
    turn = kept.messages[1]
    assert (turn["content"], turn["reasoning"]) == ("Let me see.", "Add them.")
    assert [call["id"] for call in turn["tool_calls"]] == [m["tool_call_id"] for m in kept.messages[2:]]


@pytest.mark.parametrize("summary", [None, "auto"])
def test_thoughts_and_calls_stream_as_items(start: Start, scripted: Any, summary: str | None) -> None:
    with start(script=scripted((CALLING,)), **THINKS) as live:
        reply = post(live, tools=[ADD], stream=True, reasoning={"summary": summary})
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    events = [EVENTS.validate_json(line) for line in lines]
    kinds = [event.type for event in events]
    told = "reasoning_text" if summary is None else "reasoning_summary_text"
    part = "content_part" if summary is None else "reasoning_summary_part"
    assert [kind for at, kind in enumerate(kinds) if kind != kinds[at - 1]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        f"response.{part}.added",
        f"response.{told}.delta",
        f"response.{told}.done",
        f"response.{part}.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        *["response.output_item.added", *CALL_EVENTS] * 2,
        "response.completed",
    ]
    assert "".join(e.delta for e in events if e.type == f"response.{told}.delta") == "Add them."
    done = [e.item for e in events if e.type == "response.output_item.done"]
    assert done == events[-1].response.output
    assert [e.sequence_number for e in events] == list(range(len(events)))


CALL_EVENTS = (
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
)


def test_the_sdk_parses_what_fits_a_schema(start: Start, scripted: Any) -> None:
    with start(script=scripted(('{"sum": 2}', "two"))) as live:
        done = live.client.responses.parse(model="mull-tiny", input="x", text_format=Sum)
        assert done.output_parsed == Sum(sum=2)
        with live.client.responses.stream(model="mull-tiny", input="x", text_format=Sum) as stream:
            assert stream.get_final_response().output_parsed == Sum(sum=2)


class Sum(BaseModel):
    """What an answer has to be."""

    sum: int


# -- streaming --------------------------------------------------------------------------------------------


def test_events_come_in_openais_order(live: Live) -> None:
    events = list(ask(live, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == BEST
    assert events[-4].text == BEST
    assert events[-1].response.output_text == BEST
    assert events[-1].response.output[0] == events[-2].item
    assert events[-1].response.ttc["answer"] == "2"
    assert live.client.responses.retrieve(events[0].response.id).output_text == BEST


def test_every_event_is_openais_to_the_letter(live: Live) -> None:
    reply = post(live, stream=True, include=["message.output_text.logprobs"])
    assert reply.headers["content-type"].startswith("text/event-stream")
    frames = [frame for frame in reply.text.split("\n\n") if frame and not frame.startswith(":")]
    for frame in frames:
        name, data = frame.split("\n")
        event = EVENTS.validate_json(data.removeprefix("data: "))
        assert name == f"event: {event.type}"
    assert "[DONE]" not in reply.text


def test_the_sdks_stream_helper_reads_it(live: Live) -> None:
    with live.client.responses.stream(model="mull-tiny", input="x") as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert all(later.startswith(earlier) for earlier, later in pairwise(snapshots))
    assert snapshots[-1] == final.output_text == BEST


async def test_the_asynchronous_helper_too(live: Live) -> None:
    async with live.async_client() as client, client.responses.stream(model="mull-tiny", input="x") as stream:
        final = await stream.get_final_response()
    assert final.output_text == BEST


def test_a_stream_that_is_cut_off_ends_incomplete(live: Live) -> None:
    last = list(ask(live, stream=True, max_output_tokens=11))[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output[0].status == "incomplete"


def test_nodes_are_told_between_the_events(live: Live) -> None:
    ttc = {"strategy": "best_of_n", "n": 3, "progress": "nodes"}
    events = list(ask(live, stream=True, ttc=ttc))
    assert events[0].response.ttc["strategy"] == "best_of_n"
    nodes = [event for event in events if event.type == "response.ttc.node"]
    assert {event.node["id"] for event in nodes} == {1, 2, 3}
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_failure_in_mid_stream_is_a_failed_response(start: Start, scripted: Any) -> None:
    script = scripted()
    with start(script=script) as live:
        script.fail, script.fail_after_turns = EngineUnavailable("the scripted engine is gone"), 5
        events = list(ask(live, stream=True))
        assert events[-1].type == "response.failed"
        assert events[-1].response.status == "failed"
        assert events[-1].response.error.code == "server_error"
        assert "gone" in events[-1].response.error.message
        with pytest.raises(NotFoundError):
            live.client.responses.retrieve(events[0].response.id)


def test_what_is_wrong_from_the_start_is_a_400_also_in_a_stream(live: Live) -> None:
    with pytest.raises(BadRequestError, match="the context"):
        ask(live, input="x" * 300, stream=True)


# -- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"background": True}, "background", "while you wait"),
        ({"conversation": "conv_1"}, "conversation", "previous_response_id"),
        ({"prompt": {"id": "p"}}, "prompt", "templates"),
        ({"truncation": "auto"}, "truncation", "disabled"),
        ({"service_tier": "flex"}, "service_tier", "'auto' or 'default'"),
        ({"tools": [{"type": "web_search"}]}, "tools", "'web_search'; only 'function'"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice", "'mcp' is not supported"),
        ({"tool_choice": 5}, "tool_choice", "5 is not supported"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "required"),
        ({"tools": [{"type": "function", "name": "a"}] * 2}, "tools", "two have the name"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", "required"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type", "one of"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "1"}]},
            "input",
            "JSON object",
        ),
        ({"include": ["file_search_call.results"]}, "include", "allowed: message.output_text.logprobs"),
        ({"input": []}, "input", "non-empty list"),
        ({"input": 3}, "input", "a string or a list of items"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input", "item 0 is 'item_reference'"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
            "input[0].content",
            "input_file",
        ),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "one of"),
        ({"input": [{"role": "user"}]}, "input[0].content", "required"),
        ({"reasoning": {"effort": "most"}}, "reasoning.effort", "one of"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "unknown field"),
        ({"stream_options": {}}, "stream_options", "stream: true"),
        ({"ttc": {"progress": "nodes"}}, "ttc.progress", "stream: true"),
        ({"stream": True, "ttc": {"progress": "text"}}, "ttc.progress", "nodes"),
        ({"max_output_tokens": 0}, "max_output_tokens", "from 1 to"),
        ({"messages": []}, "messages", "unknown field"),
        ({"previous_response_id": "resp_0"}, "previous_response_id", "no response 'resp_0'"),
        ({"metadata": {"a": 1}}, "metadata.a", "a string"),
        ({"metadata": dict.fromkeys(map(str, range(17)), "")}, "metadata", "an object of at most 16 fields"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input",
            "images are for messages of role 'user'",
        ),
    ],
)
def test_what_is_wrong_is_named(live: Live, body: dict[str, Any], param: str, says: str) -> None:
    reply = post(live, **body)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] == param, error
    assert says in error["message"], error


def test_an_effort_that_means_nothing_here_is_named(start: Start) -> None:
    with start(efforts={"low": "single"}) as live:
        error = post(live, reasoning={"effort": "high"}).json()["error"]
    assert error["param"] == "reasoning.effort"
    assert "reasoning.effort 'high' is not configured here; configured: low" in error["message"]


def test_an_unknown_model_is_a_404(live: Live) -> None:
    assert post(live, model="gpt-4o").status_code == 404


def test_nulls_and_labels_change_nothing(live: Live) -> None:
    body = {
        "background": None,
        "conversation": None,
        "max_tool_calls": 3,
        "prompt_cache_key": "k",
        "tools": None,
    }
    assert post(live, **body).status_code == 200


def test_the_openapi_document_shows_the_body(live: Live) -> None:
    paths = live.http.get("/openapi.json").json()["paths"]
    shown = paths["/v1/responses"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"input", "instructions", "reasoning", "ttc"} <= shown["properties"].keys()
    assert "$ref" not in json.dumps(shown)
    assert {"get", "delete"} <= paths["/v1/responses/{name}"].keys()
