"""Published layouts as configuration."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from mull.types import Chat
from mull.verifiers.formats import ProcessFormat, StepTag, TokenClassification, TokenLogprobs
from mull.verifiers.steps import split

ADAPTER: TypeAdapter[ProcessFormat] = TypeAdapter(ProcessFormat)
TEXT = "Add them.\n\nThe answer is 5."
STEPS = split(TEXT, "\n\n")


def test_token_classification_leaves_the_answer_alone() -> None:
    passage = TokenClassification().lay_out(TEXT, STEPS, (1, 2))
    assert (passage.text, passage.marks, passage.ids) == (TEXT, (11, len(TEXT)), (1, 2))


def test_step_tag_puts_a_tag_behind_each_stripped_step() -> None:
    passage = StepTag(type="step_tag", tag="<extra_0>").lay_out(TEXT, STEPS, (1, 2))
    assert passage.text == "Add them.<extra_0>The answer is 5.<extra_0>"
    assert passage.marks == (18, len(passage.text))
    assert passage.ids == ()


def test_math_shepherd() -> None:
    layout = TokenLogprobs(type="token_logprobs", good="+", bad="-", tag=" ки", after="\n")
    passage = layout.lay_out(TEXT, STEPS, (1, 2))
    assert passage.text == "Add them. ки\nThe answer is 5. ки\n"
    assert [passage.text[:mark][-2:] for mark in passage.marks] == ["ки", "ки"]


def test_rlhflow_approves_earlier_steps_in_turns() -> None:
    layout = TokenLogprobs(type="token_logprobs", good="+", bad="-", turns=True)
    system = {"role": "system", "content": "Judge."}
    chat = Chat(messages=(system, {"role": "user", "content": "2 + 3?"}))
    first, second = layout.converse(chat, STEPS)
    opening = {"role": "user", "content": "2 + 3? Add them."}
    assert list(first.messages) == [system, opening]
    assert list(second.messages) == [
        system,
        opening,
        {"role": "assistant", "content": "+"},
        {"role": "user", "content": "The answer is 5."},
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"type": "unknown"},
        {"type": "step_tag"},
        {"type": "step_tag", "tag": ""},
        {"type": "token_classification", "label": -1},
        {"type": "token_classification", "labels": 1},
        {"type": "token_logprobs", "good": "+"},
        {"type": "token_logprobs", "good": 10, "bad": 12, "turns": True},
    ],
)
def test_what_is_no_format_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(data)
