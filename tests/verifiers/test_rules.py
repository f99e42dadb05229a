"""Rules: format, regular expression, JSON Schema, equality to a reference."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from mull.answers import Answers
from mull.errors import InvalidRequest
from mull.protocols import Verifier
from mull.types import Candidate, Task
from mull.verifiers.rules import FormatVerifier, JsonSchemaVerifier, ReferenceVerifier, RegexVerifier

Make = Callable[..., Any]


@pytest_asyncio.fixture
async def answers() -> AsyncIterator[Answers]:
    async with Answers() as answers:
        yield answers


@pytest.fixture
def values(candidate: Callable[..., Candidate], task: Callable[..., Task]) -> Make:
    async def score(verifier: Verifier, *texts: str, **fields: Any) -> list[float]:
        scores = await verifier.score(task(**fields), [candidate(text) for text in texts])
        return [score.value for score in scores]

    return score


async def test_format(answers: Answers, values: Make) -> None:
    verifier = FormatVerifier("boxed", answers)
    texts = r"so \boxed{\frac{1}{2}}", "so 1/2", r"so \boxed{", r"so \boxed{}"
    assert await values(verifier, *texts) == [1, 0, 0, 0]
    assert await values(FormatVerifier("number", answers, form="number"), "so 1/2", "so half") == [1, 0]


async def test_reference(answers: Answers, values: Make, candidate: Make, task: Make) -> None:
    verifier = ReferenceVerifier("truth", answers)
    texts = r"\boxed{0.50}", r"\boxed{2}", "no idea"
    assert await values(verifier, *texts, reference="1/2") == [1, 0, 0]
    cut = await verifier.score(task(reference="2"), [candidate(r"\boxed{2}", "length")])
    assert cut[0].value == 0
    with pytest.raises(InvalidRequest) as caught:
        await values(verifier, "2")
    assert caught.value.param == "reference"


async def test_regex(values: Make) -> None:
    assert await values(RegexVerifier("digits", r"\d+$"), "is 12", "12 is") == [1, 0]
    assert await values(RegexVerifier("digits", r"\d+", full=True), "12", "is 12") == [1, 0]
    with pytest.raises(ValueError, match="not a regular expression"):
        RegexVerifier("broken", "(")


async def test_a_hostile_expression_fails_in_time_and_does_not_stall_the_loop(values: Make) -> None:
    verifier = RegexVerifier("hostile", r"^(a|a)*$", seconds=0.3)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    heart = asyncio.create_task(beat())
    started = time.monotonic()
    assert await values(verifier, "a" * 64 + "!") == [0]
    heart.cancel()
    assert time.monotonic() - started > 0.2, "the expression was not hostile"
    assert beats > 2


SCHEMA = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/digit"}},
    "patternProperties": {"^s_": {"type": "string"}},
    "additionalProperties": False,
    "required": ["x"],
    "$defs": {"digit": {"type": "integer", "maximum": 9}},
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"x": 1}', True),
        ('```json\n{"x": 1}\n```', True),
        ('{"x": 1, "s_name": "y"}', True),
        ('{"x": 1, "s_name": 2}', False),
        ('{"x": 1, "other": 2}', False),
        ('{"x": 10}', False),
        ('{"y": 1}', False),
        ('{"x": NaN}', False),
        ('so {"x": 1}', False),
        ("[" * 100_000, False),
        ('{"x": ' + "9" * 10_000 + "}", False),
        ("", False),
    ],
)
async def test_json_schema(values: Make, text: str, fits: bool) -> None:
    assert await values(JsonSchemaVerifier("shape", SCHEMA), text) == [fits]


async def test_patterns_in_a_schema_have_a_time_limit(values: Make) -> None:
    verifier = JsonSchemaVerifier("shape", {"type": "string", "pattern": r"^(a|a)*$"})
    assert await values(verifier, '"aaa"', '"' + "a" * 64 + '!"') == [1, 0]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "wrong"}, "not a JSON Schema"),
        ({"$ref": "#/$defs/none"}, "not in it"),
        ({"$ref": "https://example.com/schema.json"}, "not in it"),
    ],
)
def test_a_bad_schema_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JsonSchemaVerifier("shape", schema)


async def test_batch_equals_singles(answers: Answers, values: Make) -> None:
    texts = r"\boxed{1}", "12", '{"x": 1}', ""
    rules: list[Verifier] = [
        FormatVerifier("boxed", answers),
        ReferenceVerifier("truth", answers),
        RegexVerifier("digits", r"\d$"),
        JsonSchemaVerifier("shape", SCHEMA),
    ]
    for rule in rules:
        batch = await values(rule, *texts, reference="1")
        assert batch == [(await values(rule, text, reference="1"))[0] for text in texts]
