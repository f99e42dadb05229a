"""Answers that vLLM's grammars hold to what was asked for, from a model that has learnt nothing of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from tests.integration.conftest import Server

MODEL = "mull-tiny"
TOKENS = 160
"""More than the longest call there is."""


class Add(BaseModel):
    """Adds two numbers."""

    a: Literal[1, 2, 3]
    b: int = Field(ge=0, le=9)


class Result(BaseModel):
    """A result."""

    sum: int = Field(ge=0, le=99)


TOOL: Any = pydantic_function_tool(Add, name="add")
SEARCHES: list[dict[str, Any]] = [
    {"strategy": "single"},
    {"strategy": "majority_vote", "n": 4},
    {"strategy": "best_of_n", "n": 4},
    {"strategy": "beam_search", "width": 2, "expand": 2, "depth": 4},
]


def solved(completion: Any) -> Any:
    """The completion's `ttc`."""
    return completion.ttc


@pytest.mark.parametrize("ttc", SEARCHES, ids=[ttc["strategy"] for ttc in SEARCHES])
def test_a_required_call_is_made(server: Server, ask: Any, ttc: dict[str, Any]) -> None:
    completion = server.client.chat.completions.parse(
        model=MODEL,
        messages=ask,
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=TOKENS,
        seed=1,
        extra_body={"ttc": ttc},
    )
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert isinstance(call.function.parsed_arguments, Add)
    answer = json.loads(solved(completion)["answer"])
    assert answer == {"name": "add", "arguments": json.loads(call.function.arguments)}


@pytest.mark.parametrize("ttc", SEARCHES, ids=[ttc["strategy"] for ttc in SEARCHES])
def test_an_answer_fits_its_schema(server: Server, ask: Any, ttc: dict[str, Any]) -> None:
    completion = server.client.chat.completions.parse(
        model=MODEL,
        messages=ask,
        response_format=Result,
        max_tokens=TOKENS,
        seed=1,
        extra_body={"ttc": ttc},
    )
    message = completion.choices[0].message
    assert isinstance(message.parsed, Result)
    assert json.loads(solved(completion)["answer"]) == {"sum": message.parsed.sum}


def test_a_named_call_is_streamed(server: Server, ask: Any) -> None:
    with server.client.chat.completions.stream(
        model=MODEL,
        messages=ask,
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "add"}},
        max_tokens=TOKENS,
        seed=2,
    ) as stream:
        contents = [event.content for event in stream if event.type == "content.done"]
        choice = stream.get_final_completion().choices[0]
    assert contents == []
    assert choice.finish_reason == "tool_calls"
    assert isinstance((choice.message.tool_calls or [])[0].function.parsed_arguments, Add)


def test_tools_are_shown_to_the_model_and_cost_tokens(server: Server, ask: Any) -> None:
    def asked(**options: Any) -> Any:
        return server.client.chat.completions.create(model=MODEL, messages=ask, max_tokens=4, **options)

    plain, none = asked(), asked(tools=[TOOL], tool_choice="none")
    shown = asked(tools=[TOOL])
    assert none.usage.prompt_tokens == plain.usage.prompt_tokens
    assert shown.usage.prompt_tokens > plain.usage.prompt_tokens


def test_an_answer_goes_on_with_what_was_begun(server: Server, ask: Any) -> None:
    whole = server.client.chat.completions.create(model=MODEL, messages=ask, temperature=0)
    text = whole.choices[0].message.content or ""
    begun, rest = text[: text.index("\n") + 1], text[text.index("\n") + 1 :]
    continued = server.client.chat.completions.create(
        model=MODEL,
        messages=[*ask, {"role": "assistant", "content": begun}],
        temperature=0,
        extra_body={"add_generation_prompt": False, "continue_final_message": True},
    )
    assert continued.choices[0].message.content == rest
    assert solved(continued)["answer"] == solved(whole)["answer"]
