"""Tool calls: read, voted on, streamed, and refused where they cannot be honoured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

ASK: Any = [{"role": "user", "content": "What is one plus one?"}]


class Add(BaseModel):
    """Adds two numbers."""

    a: int
    b: int


TOOL: Any = pydantic_function_tool(Add, name="add")
RIGHT = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 1}}</tool_call>'
SWAPPED = '<tool_call>\n{"name": "add", "arguments": {"b": 1.0, "a": 1}}\n</tool_call>'
OTHER = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
UNKNOWN = '<tool_call>{"name": "sub", "arguments": {"a": 1, "b": 2}}</tool_call>'
INVALID = '<tool_call>{"name": "add", "arguments": {"a": "one"}}</tool_call>'
UNREADABLE = '<tool_call>{"name": "add", "arguments": {"a": </tool_call>'
SAID = "It is \\boxed{2}"
SAMPLING = [
    "majority_vote",
    "best_of_n",
    "weighted_best_of_n",
    "adaptive_consistency",
    "early_stopping",
    "confidence",
    "speculative_rejection",
    "self_verify",
    "select",
    "rerank",
]


def ask(live: Live, **options: Any) -> Any:
    return live.client.chat.completions.create(model="mull-tiny", messages=ASK, tools=[TOOL], **options)


def test_a_call_comes_back_parsed(start: Start, scripted: Any) -> None:
    with start(script=scripted([f"Let me add.\n{RIGHT}"])) as live:
        completion = ask(live)
        choice = completion.choices[0]
        call = choice.message.tool_calls[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Let me add."
        assert (call.type, call.function.name) == ("function", "add")
        assert json.loads(call.function.arguments) == {"a": 1, "b": 1}
        assert json.loads(completion.ttc["answer"]) == {"name": "add", "arguments": {"a": 1, "b": 1}}
        # The conversation goes on with the call and what the tool says.
        turn = [*ASK, choice.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "2"}]
        live.script.answers = [SAID]
        second = live.client.chat.completions.create(model="mull-tiny", messages=turn, tools=[TOOL])
        assert second.choices[0].message.content == SAID
        assert second.choices[0].finish_reason == "stop"
        shown = live.script.chats[-1]
        assert shown.tools[0]["function"]["name"] == "add"
        assert shown.messages[1]["tool_calls"][0]["id"] == call.id
        assert shown.messages[2] == {"role": "tool", "tool_call_id": call.id, "content": "2"}


def test_the_sdk_parses_the_arguments(start: Start, scripted: Any) -> None:
    with start(script=scripted([RIGHT])) as live:
        parsed = live.client.chat.completions.parse(model="mull-tiny", messages=ASK, tools=[TOOL])
    message = parsed.choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.parsed_arguments == Add(a=1, b=1)


@pytest.mark.parametrize("strategy", ["majority_vote", "best_of_n", "single"])
def test_a_stream_of_calls_is_what_the_json_says(start: Start, scripted: Any, strategy: str) -> None:
    with start(script=scripted([f"Adding.\n{RIGHT}\n{OTHER}"])) as live:
        extra = {"ttc": {"strategy": strategy, **({} if strategy == "single" else {"n": 3})}}
        whole = ask(live, extra_body=extra).choices[0]
        with live.client.chat.completions.stream(
            model="mull-tiny", messages=ASK, tools=[TOOL], extra_body=extra
        ) as stream:
            for _ in stream:
                pass
            streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == whole.finish_reason == "tool_calls"
    assert streamed.message.content == whole.message.content == "Adding."
    assert [c.function.arguments for c in streamed.message.tool_calls or ()] == [
        c.function.arguments for c in whole.message.tool_calls
    ]
    assert len({call.id for call in streamed.message.tool_calls or ()}) == 2


def test_no_piece_of_a_call_is_streamed_as_text(start: Start, scripted: Any) -> None:
    with start(script=scripted([f"If 1 <tool: {RIGHT}"])) as live:
        chunks = [chunk.choices[0].delta for chunk in ask(live, stream=True)]
    said = "".join(delta.content or "" for delta in chunks)
    calls = [call for delta in chunks for call in delta.tool_calls or ()]
    assert said == "If 1 <tool:"
    assert [(c.index, c.id is not None, c.function.name) for c in calls] == [
        (0, True, "add"),
        (0, False, None),
    ]
    assert json.loads("".join(c.function.arguments for c in calls)) == {"a": 1, "b": 1}


def test_a_search_streams_what_its_branches_share_and_no_piece_of_a_call(start: Start, scripted: Any) -> None:
    script = scripted([f"Let me add.\n{RIGHT}", f"Let me add.\n{OTHER}"])
    with start(script=script) as live:
        stream = ask(
            live, stream=True, extra_body={"ttc": {"strategy": "beam_search", "width": 2, "expand": 2}}
        )
        deltas = [chunk.choices[0].delta for chunk in stream]
    assert "".join(delta.content or "" for delta in deltas) == "Let me add."
    [name] = [call.function.name for d in deltas for call in d.tool_calls or () if call.function.name]
    assert name == "add"


def test_several_choices_have_calls_of_their_own(start: Start, scripted: Any) -> None:
    with start(script=scripted([RIGHT, OTHER])) as live:
        extra = {"ttc": {"strategy": "best_of_n", "n": 2}}
        whole = ask(live, n=2, extra_body=extra)
        found: dict[int, str] = {}
        ids = set()
        for chunk in ask(live, n=2, extra_body=extra, stream=True):
            for choice in chunk.choices:
                for call in choice.delta.tool_calls or ():
                    assert call.index == 0
                    ids |= {call.id} - {None}
                    found[choice.index] = found.get(choice.index, "") + call.function.arguments
    assert found == {c.index: c.message.tool_calls[0].function.arguments for c in whole.choices}
    assert len(ids) == 2


@pytest.mark.parametrize("strategy", SAMPLING)
def test_equal_calls_vote_together_and_what_is_no_call_of_a_tool_loses(
    start: Start, scripted: Any, strategy: str
) -> None:
    answers = [UNKNOWN, INVALID, UNREADABLE, OTHER, RIGHT, SWAPPED]
    with start(script=scripted(answers)) as live:
        extra = {"ttc": {"strategy": strategy, "n": 6, "include": ["candidates"]}}
        completion = ask(live, extra_body=extra)
    candidates = completion.ttc["candidates"]
    assert completion.choices[0].message.tool_calls[0].function.name == "add"
    fits = [candidate["fits"] for candidate in candidates]
    assert fits == sorted(fits, reverse=True), "what fits comes first"
    assert {c["text"] for c in candidates if c["fits"]} <= {OTHER, RIGHT, SWAPPED}
    assert all(candidate["answer"] is None for candidate in candidates if not candidate["fits"])
    if strategy == "majority_vote":
        assert json.loads(completion.ttc["answer"])["arguments"] == {"a": 1, "b": 1}
        assert completion.ttc["confidence"] == pytest.approx(2 / 3)


def test_calls_vote_by_calls_and_text_by_text(start: Start, scripted: Any) -> None:
    with start(script=scripted([RIGHT, SAID, "The answer is \\boxed{2.0}", SAID])) as live:
        extra = {"ttc": {"strategy": "majority_vote", "n": 4}}
        completion = ask(live, extra_body=extra)
    assert completion.choices[0].message.content == SAID
    assert completion.ttc["confidence"] == pytest.approx(3 / 4)


def test_no_tools_are_shown_or_read_where_none_may_be_called(start: Start, scripted: Any) -> None:
    with start(script=scripted([RIGHT])) as live:
        completion = ask(live, tool_choice="none")
        assert completion.choices[0].message.content == RIGHT
        assert live.script.chats[-1].tools == ()


@pytest.mark.parametrize(
    ("choice", "forced"),
    [("required", True), ({"type": "function", "function": {"name": "add"}}, "add"), ("auto", False)],
)
def test_the_engine_is_told_what_is_demanded(
    start: Start, scripted: Any, choice: Any, forced: bool | str
) -> None:
    with start(script=scripted(['{"name": "add", "arguments": {"a": 1, "b": 1}}'])) as live:
        completion = ask(live, tool_choice=choice)
        assert live.script.seen[-1].form.call == forced
        assert (live.script.seen[-1].form.constraint() is None) == (choice == "auto")
    assert completion.choices[0].finish_reason == "tool_calls"


def test_plain_text_loses_where_a_call_is_required(start: Start, scripted: Any) -> None:
    with start(script=scripted([SAID, SAID, RIGHT])) as live:
        extra = {"ttc": {"strategy": "majority_vote", "n": 3}}
        completion = ask(live, extra_body=extra, tool_choice="required")
    assert completion.choices[0].finish_reason == "tool_calls"


def test_one_call_at_most_where_they_may_not_be_parallel(start: Start, scripted: Any) -> None:
    with start(script=scripted([RIGHT + OTHER])) as live:
        both = ask(live).choices[0].message.tool_calls
        one = ask(live, parallel_tool_calls=False).choices[0].message.tool_calls
    assert (len(both), len(one)) == (2, 1)


def test_the_parser_is_a_setting_of_the_model(start: Start, scripted: Any) -> None:
    models = {"mull-tiny": {"path": "unused", "tool_parser": "mistral"}}
    script = scripted(['[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 1}}]'])
    with start(script=script, models=models) as live:
        call = ask(live).choices[0].message.tool_calls[0]
    assert call.function.name == "add"
    assert len(call.id) == 9
    assert call.id.isalnum()


def test_a_step_search_that_finds_no_call_asks_for_one_under_constraint(start: Start, scripted: Any) -> None:
    class Obedient(scripted):  # type: ignore[misc]
        def _write(self, text: str, rng: Any, sampling: Any) -> str:
            return RIGHT if sampling.form.call else str(super()._write(text, rng, sampling))

    with start(script=Obedient()) as live:
        extra = {"ttc": {"strategy": "beam_search", "width": 2, "expand": 2, "include": ["trace"]}}
        completion = ask(live, tool_choice="required", extra_body=extra)
    assert completion.choices[0].finish_reason == "tool_calls"
    assert [n["kind"] for n in completion.ttc["trace"]].count("constrained") == 1


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"tools": [{"type": "retrieval"}]}, "tools[0].type", "'function'"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "matches"),
    ({"tools": [TOOL, TOOL]}, "tools", "'add'"),
    ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "'required'"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
        "tool_choice",
        "add",
    ),
    ({"tool_choice": "required"}, "tool_choice", "'none'"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "http://x/y"}}}]},
        "tools[0].function.parameters",
        "'#/...'",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "thing"}}}]},
        "tools[0].function.parameters",
        "no JSON Schema",
    ),
    (
        {"messages": [*ASK, {"role": "assistant"}]},
        "messages[1].content",
        "a string",
    ),
    ({"messages": [*ASK, {"role": "tool", "content": "2"}]}, "messages[1].tool_call_id", "required"),
    ({"messages": [{**ASK[0], "tool_call_id": "1"}]}, "messages[0].tool_call_id", "'tool'"),
    (
        {
            "messages": [
                *ASK,
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "["}}],
                },
            ]
        },
        "messages[1].tool_calls[0].function.arguments",
        "a JSON object",
    ),
]


@pytest.mark.parametrize(("body", "param", "allowed"), WRONG, ids=[case[1] for case in WRONG])
@pytest.mark.parametrize("stream", [False, True])
def test_bad_tools_are_named(
    live: Live, body: dict[str, Any], param: str, allowed: str, stream: bool
) -> None:
    response = live.post(**body, stream=stream)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert allowed in error["message"]
