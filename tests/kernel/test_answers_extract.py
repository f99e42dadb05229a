"""Finding the final answer in a text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.answers import KINDS, Answers
from mull.errors import InvalidRequest

CASES = [
    # boxes: the last one, nested braces, empty and unclosed ones abstain
    ("auto", r"so \boxed{42}", "42"),
    ("auto", r"\boxed{1} no, \boxed{2}", "2"),
    ("auto", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ("auto", r"\boxed{\frac{\sqrt{3}}{2}}.", r"\frac{\sqrt{3}}{2}"),
    ("auto", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    ("auto", r"\boxed{\left\{ x \mid x > 2 \right\}}", r"\left\{ x \mid x > 2 \right\}"),
    ("auto", r"\boxed {7}", "7"),
    ("auto", r"\fbox{7}", "7"),
    ("auto", r"\boxed{\boxed{7}}", "7"),
    ("auto", r"$\boxed{$18$}$", "18"),
    ("auto", r"\boxed{}", None),
    ("auto", r"\boxed{ }", None),
    ("auto", r"\boxed{1} and then \boxed{2", None),
    ("auto", r"\boxed{1} and then \boxed{}", None),
    ("auto", r"the answer is 3 but \boxed{", None),
    ("boxed", r"the answer is 3, \boxed{4}", "4"),
    ("boxed", "the answer is 3", None),
    ("boxed", "boxed{4}", None),
    ("boxed", "\\boxed{" + "7" * 10_000 + "}", "7" * 10_000),
    ("boxed", "\\boxed{" + "7" * 30_000 + "}", None),
    # GSM8K
    ("auto", "3 + 4 = 7\n#### 7", "7"),
    ("auto", "3 + 4 = 7\n#### 1,234\n", "1,234"),
    ("auto", "#### 1\n#### 2", "2"),
    ("auto", "#### Conclusion\nThe answer is 5.", "5"),
    ("auto", "see ####7", None),
    ("auto", "so\n####", None),
    # phrases: the last one, cut at the end of the sentence
    ("auto", "The answer is 7.", "7"),
    ("auto", "The answer is 3.5.", "3.5"),
    ("auto", "The answer is 3. No, the final answer is: 4. I hope it is correct.", "4"),
    ("auto", "**Answer:** 12", "12"),
    ("auto", "**Final answer: 12**", "12"),
    ("auto", "Answer:\n\n12 apples", "12 apples"),
    ("auto", "The answer is $\\frac{1}{2}$.", r"\frac{1}{2}"),
    ("auto", "The answer is (B) Paris.", "(B) Paris"),
    ("auto", "The answer is 5 because 2 + 3 = 5", "5"),
    ("auto", "The answer is", None),
    ("auto", "I do not know, maybe 5", None),
    ("auto", "", None),
    ("auto", "   \n ", None),
    # structured texts
    ("auto", '{"b": 1.0, "a": [2, null]}', '{"a":[2,null],"b":1}'),
    ("auto", '```json\n{"a": 1}\n```', '{"a":1}'),
    (
        "auto",
        '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>',
        '{"arguments":{"x":1},"name":"f"}',
    ),
    ("auto", "[1, 2]", None),
    ("auto", '{"a": 1', None),
    # thoughts do not count
    ("auto", r"<think>\boxed{1}</think>\boxed{2}", "2"),
    ("auto", r"<think>\boxed{1}</think>hm", None),
    ("auto", r"\boxed{1}</think>The answer is 2", "2"),
    ("auto", r"\boxed{1}<think>\boxed{2}", "1"),
    ("auto", r"<think>never ends \boxed{2}", None),
    ("number", "<think>1</think> so", None),
    # numbers
    ("number", "from 3 to 4", "4"),
    ("number", "it costs $1,234.50.", "1234.50"),
    ("number", "it is -7 degrees", "-7"),
    ("number", "10-7", "7"),
    ("number", "minus \u22127", "-7"),
    ("number", r"that makes \frac{1}{2}.", "1/2"),
    ("number", "3/4 of it", "3/4"),
    ("number", "1.5e-3", "1.5e-3"),
    ("number", ".5", ".5"),
    ("number", "7 " + "and no more " * 3000, "7"),
    ("number", "none", None),
    # choices
    ("choice", r"\boxed{B}", "B"),
    ("choice", r"\boxed{\text{(B)}}", "B"),
    ("choice", r"\boxed{\textbf{(C) }5}", "C"),
    ("choice", r"\boxed{b}", "B"),
    ("choice", r"\boxed{D. Paris}", "D"),
    ("choice", r"\boxed{Paris}", None),
    ("choice", r"\boxed{5}", None),
    ("choice", "The answer is B.", "B"),
    ("choice", "The answer is (B), not (C).", "B"),
    ("choice", "Is it A? The correct answer is **(D)**", "D"),
    ("choice", "The correct option is: C", "C"),
    ("choice", "Answer: B because it fits", "B"),
    ("choice", "I would say (A) or rather (E)", "E"),
    ("choice", "B", "B"),
    ("choice", " **B.** ", "B"),
    ("choice", "The answer is a dog", None),
    ("choice", "The answer is I do not know", None),
    ("choice", "", None),
    # JSON
    ("json", '{"b": 1, "a": 1e2}', '{"a":100,"b":1}'),
    ("json", "[1.50, 0.0, -0, 1E-3]", "[1.5,0,0,0.001]"),
    ("json", "1e999999999", "1e999999999"),
    ("json", '"x"', '"x"'),
    ("json", "9" * 5000, "9" * 5000),
    ("json", '{"a": NaN}', None),
    ("json", '{"a": 1,}', None),
    ("json", "{'a': 1}", None),
    ("json", "[" * 50_000, None),
    ("json", "sure: {}", None),
    ("json", "1e" + "9" * 30, None),
    # tool calls
    (
        "tool_call",
        '{"type": "function", "function": {"name": "f", "arguments": "{\\"x\\": 1.0, \\"a\\": 2}"}}',
        '{"arguments":{"a":2,"x":1},"name":"f"}',
    ),
    (
        "tool_call",
        '{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}',
        '{"arguments":{},"name":"f"}',
    ),
    (
        "tool_call",
        'Let me see.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n'
        '<tool_call>{"name": "g", "arguments": {"y": "1"}}</tool_call>',
        '[{"arguments":{},"name":"f"},{"arguments":{"y":"1"},"name":"g"}]',
    ),
    ("tool_call", '{"name": "f", "parameters": {}}', '{"arguments":{},"name":"f"}'),
    ("tool_call", '<tool_call>{"name": "f", "arguments": {}}', None),
    ("tool_call", '{"name": "f"}', None),
    ("tool_call", '{"name": 5, "arguments": {}}', None),
    ("tool_call", '{"name": "f", "arguments": "5"}', None),
    ("tool_call", "[]", None),
    ("tool_call", "call f", None),
    # whole texts
    ("text", "  a\n b ", "a b"),
    ("text", " ", None),
]


@pytest.fixture
def answers() -> Answers:
    return Answers()  # extraction starts no process


@pytest.mark.parametrize(("kind", "text", "expected"), CASES)
async def test_extracts(answers: Answers, kind: str, text: str, expected: str | None) -> None:
    assert await answers.extract(text, kind) == expected


async def test_unknown_kind_names_field_and_allowed_ones(answers: Answers) -> None:
    with pytest.raises(
        InvalidRequest, match="auto, boxed, choice, json, number, text or tool_call"
    ) as refused:
        await answers.extract("x", "poem")
    assert refused.value.param == "ttc.answer"


PIECES = [
    "\\boxed{",
    "\\",
    "{",
    "}",
    "$",
    "####",
    "\n",
    " ",
    "the answer is ",
    "Answer:",
    "*",
    "(",
    ")",
    "B",
    "7",
]
PIECES += [
    ",",
    ".",
    "/",
    "-",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    '{"name":',
    "[",
    "e9",
    "```\n",
]
MARKUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=5)).map("".join)


@given(MARKUP, st.sampled_from(KINDS))
async def test_never_raises_and_never_gives_an_empty_answer(text: str, kind: str) -> None:
    answer = await Answers().extract(text, kind)
    assert answer is None or answer.strip()


@given(st.text(alphabet="ab{}\\$ 12", max_size=30))
async def test_a_balanced_box_comes_back_whole(content: str) -> None:
    """Whatever stands in a box with balanced braces is the answer, up to trimming."""
    depth, escaped = 0, False
    for character in content:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth < 0:
                return
    if depth or escaped:
        return
    answer = await Answers().extract(f"so \\boxed{{{content}}} done", "boxed")
    assert answer is None or answer in content


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "unit",
    [
        *PIECES,
        "#### ",
        "answer:\n",
        "1,234 ",
        "\\text{",
        '{"a":',
        "option ",
        "\\frac{1}",
        "9.",
        "`",
        "\\(",
        "\\{",
    ],
)
async def test_time_is_linear_in_the_length(answers: Answers, kind: str, unit: str) -> None:
    """A quadratic step would take minutes on a megabyte; the bound is generous, not a benchmark."""
    started = time.process_time()
    for text in (unit * (1_000_000 // len(unit)), "\\boxed{" + unit * (1_000_000 // len(unit)) + "}"):
        await answers.extract(text, kind)
    assert time.process_time() - started < 5
