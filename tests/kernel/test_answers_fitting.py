"""Whether an answer is what was asked for: decided in a process that hostile schemas cannot hang."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mull.answers import Answers
from mull.answers.fitting import Found
from mull.errors import InvalidRequest
from mull.form import Form, Json, Thoughts

INTEGER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOLS: dict[str, Any] = {"add": INTEGER, "now": {}}
LOST = Found(answer=None, fits=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers() -> AsyncIterator[Answers]:
    async with Answers(seconds=0.5) as answers:
        yield answers


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


@pytest.mark.parametrize(
    ("text", "form", "found"),
    [
        ("the answer is 2", Form(), Found(answer="2")),
        ("2 is the answer.", Form(begun="The answer is "), Found(answer="2 is the answer")),
        ('{"a": 1.0}', Form(json=Json()), Found(answer='{"a":1}')),
        ("[1]", Form(json=Json()), LOST),
        ("[1]", Form(json=Json(schema={"type": "array"})), Found(answer="[1]")),
        ('{"a": 1}', Form(json=Json(schema=INTEGER)), Found(answer='{"a":1}')),
        ('{"a": "1"}', Form(json=Json(schema=INTEGER)), LOST),
        ('```json\n{"a": 1}\n```', Form(json=Json(schema=INTEGER)), LOST),
        ("a: 1", Form(json=Json(schema=INTEGER)), LOST),
        ("<think>[]</think>[1]", Form(thoughts=Thoughts(), json=Json(schema={"type": "array"})),
         Found(answer="[1]")),
        (call("add", a=1), Form(tools=TOOLS), Found(answer='{"arguments":{"a":1},"name":"add"}')),
        (call("add", a="1"), Form(tools=TOOLS), LOST),
        (call("add", a=1) + call("now", x=1), Form(tools=TOOLS),
         Found(answer='[{"arguments":{"a":1},"name":"add"},{"arguments":{"x":1},"name":"now"}]')),
        (call("sub", a=1), Form(tools=TOOLS), LOST),
        (call("now"), Form(tools=TOOLS, call="add"), LOST),
        ("the answer is 2", Form(tools=TOOLS), Found(answer="2")),
        ("the answer is 2", Form(tools=TOOLS, call=True), LOST),
        ("<tool_call>{", Form(tools=TOOLS), LOST),
    ],
)  # fmt: skip
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_found(answers: Answers, text: str, form: Form, found: Found) -> None:
    assert await answers.find(text, "auto", form) == found


@pytest.mark.asyncio(loop_scope="module")
async def test_another_kind_of_answer_can_be_read_from_json(answers: Answers) -> None:
    form = Form(json=Json(schema=INTEGER))
    assert await answers.find('{"a": 7}', "number", form) == Found(answer="7")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 60 + "!"}),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, {"a": 1}),
        ({"$defs": {"x": {"allOf": [{"$ref": "#/$defs/x"}]}}, "$ref": "#/$defs/x"}, {"a": 1}),
    ],
    ids=["a pattern that never ends", "another address", "a circle"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_hostile_schemas_only_abstain(answers: Answers, schema: Any, value: Any) -> None:
    form = Form(json=Json(schema=schema))
    assert await answers.find(json.dumps(value), "auto", form) == LOST
    sound = Form(json=Json(schema=INTEGER))
    assert (await answers.find('{"a": 1}', "auto", sound)).fits, "the next one is served"


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_no_schema_is_named(answers: Answers) -> None:
    await answers.check(Form(tools=TOOLS, json=Json(schema=INTEGER)))
    with pytest.raises(InvalidRequest, match=r"tools\[1\].*at /type") as refused:
        await answers.check(Form(tools={"add": INTEGER, "bad": {"type": 3}}))
    assert refused.value.param == "tools[1].function.parameters"
    with pytest.raises(InvalidRequest, match="response_format") as refused:
        await answers.check(Form(json=Json(schema={"properties": []})))
    assert refused.value.param == "response_format.json_schema.schema"


@pytest.mark.asyncio(loop_scope="module")
async def test_equality_of_json_is_exact(answers: Answers) -> None:
    spelled = ['"1/2"', '"0.5"', '"Paris"', '"paris"', '"1/2"', None]
    assert await answers.group(spelled, exact=True) == [0, 1, 2, 3, 0, None]


@pytest.mark.asyncio(loop_scope="module")
async def test_equality_of_calls_is_exact(answers: Answers) -> None:
    calls = [f'{{"arguments":{{"x":"{x}"}},"name":"f"}}' for x in ("a  b", "a b", "A b", "a b")]
    assert await answers.group(calls) == [0, 1, 2, 1]


def test_definitions_of_tools_are_kept_apart_in_the_constraint() -> None:
    def tool(kind: str) -> dict[str, Any]:
        defs = {"X": {"type": kind}}
        return {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}}, "$defs": defs}

    constraint = Form(tools={"f": tool("string"), "g": tool("integer")}, call=True).constraint()
    assert constraint is not None
    schema = constraint["json"]
    assert schema["$defs"] == {"f.X": {"type": "string"}, "g.X": {"type": "integer"}}
    options = schema["items"]["anyOf"]
    assert [o["properties"]["arguments"]["properties"]["x"]["$ref"] for o in options] == [
        "#/$defs/f.X",
        "#/$defs/g.X",
    ]


def test_a_part_of_an_answer_is_not_constrained() -> None:
    form = Form(tools={"f": {}}, call=True)
    assert form.constraint() is not None
    assert form.loose.constraint() is None
    assert Form(json=Json()).loose.constraint() is None
    assert Form(json=Json(), tools={"f": {}}).constraint() is None, "it may be a call or JSON"
    assert Form(json=Json(), tools={"f": {}}).demanded().constraint() == {"json": {"type": "object"}}
