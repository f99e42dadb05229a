"""JSON that fits a schema, thoughts apart from the content, and answers that go on with the last message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

ASK: Any = [{"role": "user", "content": "What is one plus one?"}]
TWO, TWO_AGAIN, THREE = '{"sum": 2}', '{ "sum" : 2.0 }', '{"sum": 3}'
BROKEN = ['{"sum": "two"}', "It is 2.", '{"sum": 2', '```json\n{"sum": 2}\n```']


class Sum(BaseModel):
    """A sum."""

    sum: int


SCHEMA = {"type": "json_schema", "json_schema": {"name": "sum", "schema": Sum.model_json_schema()}}


def ask(live: Live, **options: Any) -> Any:
    return live.client.chat.completions.create(model="mull-tiny", messages=ASK, **options)


@pytest.mark.parametrize("strategy", ["majority_vote", "best_of_n", "select", "speculative_rejection"])
def test_what_breaks_the_schema_abstains_and_loses(start: Start, scripted: Any, strategy: str) -> None:
    with start(script=scripted([*BROKEN, THREE, TWO, TWO_AGAIN])) as live:
        extra = {"ttc": {"strategy": strategy, "n": 7, "include": ["candidates"]}}
        completion = ask(live, response_format=SCHEMA, extra_body=extra)
    assert "sum" in json.loads(completion.choices[0].message.content)
    fits = {c["text"]: c["fits"] for c in completion.ttc["candidates"]}
    assert {text for text, fit in fits.items() if fit} <= {TWO, TWO_AGAIN, THREE}
    if strategy == "majority_vote":
        assert completion.ttc["answer"] == TWO.replace(" ", "")
        assert completion.ttc["confidence"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("strategy", ["beam_search", "best_first", "dvts", "bfs"])
def test_in_a_search_over_steps_too(start: Start, scripted: Any, strategy: str) -> None:
    class Obedient(scripted):  # type: ignore[misc]
        def _write(self, text: str, rng: Any, sampling: Any) -> str:
            return '{"sum": 4}' if sampling.form.json else str(super()._write(text, rng, sampling))

    with start(script=Obedient(["One and one\n{2}", '{\n"sum": 4}'])) as live:
        completion = ask(live, response_format=SCHEMA, extra_body={"ttc": {"strategy": strategy}})
    assert json.loads(completion.choices[0].message.content) == {"sum": 4}


def test_a_single_answer_comes_as_it_is(start: Start, scripted: Any) -> None:
    with start(script=scripted(["It is 2."])) as live:
        completion = ask(live, response_format={"type": "json_object"})
        assert live.script.seen[-1].form.constraint() == {"json": {"type": "object"}}
    assert completion.choices[0].message.content == "It is 2."
    assert completion.ttc["answer"] is None


def test_the_sdk_parses_and_streams_it(start: Start, scripted: Any) -> None:
    with start(script=scripted([TWO])) as live:
        parsed = live.client.chat.completions.parse(model="mull-tiny", messages=ASK, response_format=Sum)
        assert parsed.choices[0].message.parsed == Sum(sum=2)
        with live.client.chat.completions.stream(
            model="mull-tiny",
            messages=ASK,
            response_format=Sum,
            extra_body={"ttc": {"strategy": "best_of_n"}},
        ) as stream:
            for _ in stream:
                pass
            assert stream.get_final_completion().choices[0].message.parsed == Sum(sum=2)


def test_a_schema_that_never_ends_only_abstains(start: Start, scripted: Any) -> None:
    bomb = {"type": "object", "properties": {"sum": {"type": "string", "pattern": "^(a+)+$"}}}
    form = {"type": "json_schema", "json_schema": {"name": "bomb", "schema": bomb}}
    with start(script=scripted([json.dumps({"sum": "a" * 40 + "!"})])) as live:
        completion = ask(
            live, response_format=form, extra_body={"ttc": {"strategy": "majority_vote", "n": 2}}
        )
        assert completion.ttc["answer"] is None
        assert live.http.get("/health").status_code == 200


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"response_format": {"type": "yaml"}}, "response_format.type", "'json_object'"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "required"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
        "required",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "https://x/y"}}}},
        "response_format.json_schema.schema",
        "'#/...'",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "sum"}}}},
        "response_format.json_schema.schema",
        "no JSON Schema",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 65000]}}}},
        "response_format.json_schema.schema",
        "64000",
    ),
    (
        {"response_format": SCHEMA, "structured_outputs": {"regex": "a"}},
        "structured_outputs",
        "response_format",
    ),
    ({"structured_outputs": {"regexp": "a"}}, "structured_outputs.regexp", "grammar"),
    ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs", "exactly one"),
    ({"continue_final_message": True}, "continue_final_message", "add_generation_prompt: false"),
    (
        {"continue_final_message": True, "add_generation_prompt": False},
        "continue_final_message",
        "'assistant'",
    ),
    ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs.tools", "cannot be set here"),
    ({"truncate_prompt_tokens": 5}, "truncate_prompt_tokens", "shorten"),
    ({"include_stop_str_in_output": True}, "include_stop_str_in_output", "False"),
    ({"functions": [{"name": "f"}]}, "functions", "tools"),
    ({"return_token_ids": True}, "return_token_ids", "False"),
    (
        {"structured_outputs": {"regex": "a"}, "ttc": {"strategy": "beam_search"}},
        "structured_outputs",
        "beam_search",
    ),
    (
        {"thinking_token_budget": 5, "ttc": {"strategy": "beam_search"}},
        "thinking_token_budget",
        "beam_search",
    ),
]


@pytest.mark.parametrize(("body", "param", "allowed"), WRONG, ids=[case[1] for case in WRONG])
def test_what_cannot_be_is_named(live: Live, body: dict[str, Any], param: str, allowed: str) -> None:
    response = live.post(**body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert allowed in error["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_tier", "flex"),
        ("parallel_tool_calls", True),
        ("prediction", {"type": "content", "content": "x"}),
        ("session_id", "x"),
        ("echo", False),
        ("priority", 0),
        ("top_logprobs", 0),
        ("documents", []),
        ("include_reasoning", False),
        ("add_generation_prompt", True),
        ("response_format", {"type": "text", "json_schema": None}),
        ("stream_options", None),
    ],
)
def test_what_asks_for_nothing_special_is_accepted(live: Live, field: str, value: Any) -> None:
    response = live.post(**{field: value})
    assert response.status_code == 200, response.text
    assert response.json().get("service_tier") == ("default" if field == "service_tier" else None)


THINKING = {"mull-tiny": {"path": "unused", "reasoning": "think"}}
THOUGHT = "<think>\nOne and one {2} STOP\n</think>\n\nIt is \\boxed{2}"


def test_thoughts_come_apart_from_the_content(start: Start, scripted: Any) -> None:
    with start(script=scripted([THOUGHT]), models=THINKING) as live:
        completion = ask(live)
        hidden = ask(live, extra_body={"include_reasoning": False})
    message = completion.choices[0].message
    assert message.reasoning == "One and one {2} STOP"
    assert message.content == "It is \\boxed{2}"
    assert completion.ttc["answer"] == "2"
    inside = THOUGHT.index("</think>") + len("</think>")
    assert completion.usage.completion_tokens_details.reasoning_tokens == inside
    assert not hasattr(hidden.choices[0].message, "reasoning")


@pytest.mark.parametrize("strategy", ["single", "best_of_n", "beam_search"])
def test_thoughts_are_streamed_as_reasoning(start: Start, scripted: Any, strategy: str) -> None:
    with start(script=scripted([THOUGHT]), models=THINKING) as live:
        deltas = [
            chunk.choices[0].delta
            for chunk in ask(live, stream=True, extra_body={"ttc": {"strategy": strategy}})
        ]
    assert "".join(getattr(delta, "reasoning", None) or "" for delta in deltas) == "One and one {2} STOP"
    assert "".join(delta.content or "" for delta in deltas) == "It is \\boxed{2}"


@pytest.mark.parametrize("strategy", ["single", "best_of_n"])
def test_log_probabilities_cover_thoughts_too(start: Start, scripted: Any, strategy: str) -> None:
    with start(script=scripted([THOUGHT]), models=THINKING) as live:
        chunks = list(ask(live, stream=True, logprobs=True, extra_body={"ttc": {"strategy": strategy}}))
    tokens = [t.token for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert "".join(tokens).rstrip("\0") == THOUGHT
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "It is \\boxed{2}"


def test_verifiers_judge_the_content(start: Start, scripted: Any) -> None:
    # The scripted verifier likes a 2: the first one only thinks of it.
    answers = ["<think>2</think>It is \\boxed{3}", "<think>3</think>It is \\boxed{2}"]
    with start(script=scripted(answers), models=THINKING) as live:
        extra = {"ttc": {"strategy": "best_of_n", "n": 2, "verifier": "orm"}}
        completion = ask(live, extra_body=extra)
    assert completion.ttc["answer"] == "2"


def test_json_is_looked_for_behind_the_thoughts(start: Start, scripted: Any) -> None:
    with start(script=scripted([f"<think>{THREE}</think>\n{TWO}"]), models=THINKING) as live:
        completion = ask(live, response_format=SCHEMA, extra_body={"ttc": {"strategy": "majority_vote"}})
        constraint = live.script.seen[-1].form.constraint()
    assert completion.choices[0].message.content == TWO
    assert completion.ttc["answer"] == '{"sum":2}'
    assert constraint is not None
    first, second = json.loads(constraint["structural_tag"])["format"]["elements"]
    assert (first["begin"], first["end"]) == ("<think>", "</think>")
    assert second["json_schema"] == Sum.model_json_schema()


def test_a_template_that_opens_the_thought_is_a_setting(start: Start, scripted: Any) -> None:
    models = {"mull-tiny": {"path": "unused", "reasoning": {"opened": True}}}
    with start(script=scripted(["I see.</think>It is 2"]), models=models) as live:
        message = ask(live).choices[0].message
        told = ask(live, extra_body={"chat_template_kwargs": {"enable_thinking": False}}).choices[0].message
    assert (message.reasoning, message.content) == ("I see.", "It is 2")
    assert told.content == "I see.</think>It is 2"


def test_an_answer_goes_on_with_the_last_message(start: Start, scripted: Any) -> None:
    begun = [*ASK, {"role": "assistant", "content": "It is \\boxed{"}]
    options = {"add_generation_prompt": False, "continue_final_message": True}
    with start(script=scripted(["2}."])) as live:
        response = live.post(messages=begun, **options).json()
        assert live.script.chats[-1].template == options
        differently = live.post(messages=begun, **options, ttc={"strategy": "tree_of_thoughts"})
        checked = live.post(messages=begun, **options, ttc={"strategy": "self_verify", "n": 2})
        asked = live.script.chats[-1]
    assert response["choices"][0]["message"]["content"] == "2}."
    assert response["ttc"]["answer"] == "2"
    assert differently.json()["error"]["param"] == "continue_final_message"
    assert checked.status_code == 200
    assert [m["role"] for m in asked.messages] == ["user", "assistant", "user"]
    assert asked.messages[1]["content"] == "It is \\boxed{2}."
    assert asked.template == {}


def test_images_are_refused_by_name_and_passed_on_where_they_are_taken(start: Start, scripted: Any) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    shown = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]
    with start() as live:
        error = live.post(messages=shown).json()["error"]
    assert error["param"] == "messages[0].content"
    assert "text only" in error["message"]
    with start(models={"mull-tiny": {"url": "http://unused", "images": True}}) as live:
        assert live.post(messages=shown).status_code == 200
        assert live.script.chats[-1].messages[0]["content"][1] == picture
