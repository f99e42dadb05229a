"""Answers are taken apart the same way however they arrive, and nothing is told too early."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.answers.calls import Call
from mull.answers.splitter import Content, Parts, Splitter, Thought, split
from mull.form import CallStyle, Form, Json, Thoughts

ADD = {"add": {"type": "object", "properties": {"a": {"type": "integer"}}}}
THINK = Thoughts()
OPENED = Thoughts(opened=True)
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
STYLES: tuple[CallStyle, ...] = ("auto", "hermes", "json", "mistral")
FORMS = [
    Form(thoughts=thoughts, style=style, tools=tools, call=call, parallel=parallel)
    for thoughts in (None, THINK, OPENED)
    for style in STYLES
    for tools, call in (({}, False), (ADD, False), (ADD, True))
    for parallel in (True, False)
]
FRAGMENTS = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "<|python_tag|>",
    '{"name": "add", "arguments": {"a": 1}}',
    '{"name": "add", "parameters": {"b": "</tool_call>"}}',
    '[{"name": "sub", "arguments": {}}]',
    'add{"a": 2}',
    "add[ARGS]",
    "{",
    ";",
    " ",
    "\n",
    "<",
    "[",
    "said",
    "é",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=9).map("".join)


def joined(pieces: list[Any]) -> list[Any]:
    """The pieces with neighbours of one kind put together."""
    found: list[Any] = []
    for piece in pieces:
        if found and not isinstance(piece, Call) and type(found[-1]) is type(piece):
            found[-1] = type(piece)(text=found[-1].text + piece.text)
        else:
            found.append(piece)
    return found


@given(TEXTS, st.sampled_from(FORMS), st.data())
def test_any_cutting_gives_the_same_parts(text: str, form: Form, data: Any) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    whole, cut = Splitter(form), Splitter(form)
    expected = [*whole.feed(text), *whole.close()]
    pieces = [p for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) for p in cut.feed(text[a:b])]
    pieces += cut.close()
    assert joined(pieces) == joined(expected)
    assert cut.broken == whole.broken
    assert all(isinstance(piece, Call) or piece.text for piece in pieces)


@given(TEXTS, st.sampled_from([form for form in FORMS if form.thoughts is None]))
def test_what_holds_no_call_is_content_to_the_letter(text: str, form: Form) -> None:
    parts = split(text, form)
    if not parts.calls and not parts.broken:
        assert parts == Parts(reasoning=None, content=text)


@given(TEXTS)
def test_a_plain_form_takes_any_text_as_it_is(text: str) -> None:
    assert split(text, Form(json=Json())) == Parts(reasoning=None, content=text)


@pytest.mark.parametrize(
    ("thoughts", "text", "reasoning", "content"),
    [
        (THINK, "<think>\nI see.\n</think>\n\nIt is 2.", "I see.", "It is 2."),
        (THINK, "It is 2 <think>no</think>", None, "It is 2 <think>no</think>"),
        (THINK, "<think>\n\n</think>\n\nIt is 2.", None, "It is 2."),
        (THINK, "<think>never ends", "never ends", ""),
        (OPENED, "I see.</think>It is 2.", "I see.", "It is 2."),
        (OPENED, "<think>I see.</think>It is 2.", "I see.", "It is 2."),
        (OPENED, "never ends", "never ends", ""),
        (Thoughts(open="[THINK]", close="[/THINK]"), "[THINK]so[/THINK] 2", "so", "2"),
    ],
)
def test_thoughts_are_told_apart(thoughts: Thoughts, text: str, reasoning: str | None, content: str) -> None:
    assert split(text, Form(thoughts=thoughts)) == Parts(reasoning=reasoning, content=content)


@pytest.mark.parametrize(
    ("style", "text", "content", "arguments"),
    [
        ("hermes", CALL, "", ['{"a":1}']),
        ("hermes", f"Let me add.\n{CALL}\n{CALL}\n", "Let me add.", ['{"a":1}', '{"a":1}']),
        ("hermes", '<tool_call>{"name":"add","arguments":{"b":"</tool_call>"}}</tool_call>', "",
         ['{"b":"</tool_call>"}']),
        ("hermes", '<tool_call>{"name": "add", "arguments": {"z": 1, "a": 1.50}}', "", ['{"z":1,"a":1.5}']),
        ("auto", '{"name": "add", "arguments": {"a": 1}}', "", ['{"a":1}']),
        ("auto", '{"total": 3}', '{"total": 3}', []),
        ("auto", '{"name": "Ada", "arguments": {}}', '{"name": "Ada", "arguments": {}}', []),
        ("hermes", '{"name": "add", "arguments": {"a": 1}}', '{"name": "add", "arguments": {"a": 1}}', []),
        ("json", '<|python_tag|>{"name": "add", "parameters": {"a": 1}}; {"name": "add", "parameters": {}}',
         "", ['{"a":1}', "{}"]),
        ("mistral", '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}]', "", ['{"a":1}']),
        ("mistral", 'So: [TOOL_CALLS]add{"a": 1}[TOOL_CALLS]add[ARGS]{"a": 2}', "So:",
         ['{"a":1}', '{"a":2}']),
    ],
)  # fmt: skip
def test_calls_are_read_in_each_style(
    style: CallStyle, text: str, content: str, arguments: list[str]
) -> None:
    parts = split(text, Form(style=style, tools=ADD))
    assert parts.content == content
    assert [call.arguments for call in parts.calls] == arguments
    assert {call.name for call in parts.calls} <= {"add"}
    assert not parts.broken


@pytest.mark.parametrize("style", STYLES)
def test_a_call_that_was_forced_is_read_in_any_style(style: CallStyle) -> None:
    text = '[{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": 2}}]'
    form = Form(style=style, tools=ADD, call=True)
    assert [json.loads(call.arguments) for call in split(text, form).calls] == [{"a": 1}, {"a": 2}]
    one = Form(style=style, tools=ADD, call=True, parallel=False)
    assert [json.loads(call.arguments) for call in split(text, one).calls] == [{"a": 1}]


def test_a_call_that_cannot_be_read_is_content_and_known_as_broken() -> None:
    text = '<tool_call>{"name": "add", "arguments": {"a": }}</tool_call>'
    assert split(text, Form(tools=ADD)) == Parts(reasoning=None, content=text, broken=True)


def test_thought_about_calls_are_none() -> None:
    parts = split(f"<think>{CALL}</think>no", Form(thoughts=THINK, tools=ADD))
    assert (parts.reasoning, parts.content, parts.calls) == (CALL, "no", ())


def test_text_is_told_at_once_unless_it_may_begin_a_call() -> None:
    splitter = Splitter(Form(tools=ADD))
    assert list(splitter.feed("Let me see")) == [Content(text="Let me see")]
    assert list(splitter.feed(" <tool")) == []
    assert list(splitter.feed("box>")) == [Content(text=" <toolbox>")]
    assert list(splitter.feed("\n<tool_call>")) == []


def test_what_was_begun_in_the_prompt_is_not_told_again() -> None:
    splitter = Splitter(Form(thoughts=THINK, begun="<think>I"))
    assert list(splitter.feed(" see.</think>2")) == [Thought(text=" see."), Content(text="2")]
