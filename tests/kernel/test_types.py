from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from mull.types import (
    Answer,
    Bare,
    Candidate,
    Chat,
    Choice,
    Completion,
    Meter,
    Prompt,
    Score,
    Usage,
    aggregate,
    text_of,
)

TEXT = {"type": "text"}
CHAT = Chat(
    messages=(
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one"},
        {
            "role": "user",
            "content": [TEXT | {"text": "what "}, {"type": "image_url"}, TEXT | {"text": "now?"}],
        },
    )
)


def test_question_is_the_text_of_the_last_user_message() -> None:
    assert CHAT.question == "what now?"
    assert Chat(messages=({"role": "assistant", "content": "hm"},)).question == ""
    assert Chat(messages=({"role": "user", "content": None},)).question == ""


@pytest.mark.parametrize(
    ("content", "text"), [("a", "a"), (None, ""), ([], ""), ([{"type": "text"}], ""), (5, "")]
)
def test_text_of(content: object, text: str) -> None:
    assert text_of(content) == text


@pytest.mark.parametrize(
    ("how", "value"), [("min", 0.25), ("last", 0.5), ("product", 0.125), ("mean", 0.5833333333)]
)
def test_aggregate(how: str, value: float) -> None:
    assert aggregate((1.0, 0.25, 0.5), how) == pytest.approx(value)  # type: ignore[arg-type]


def test_aggregate_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="no step scores"):
        aggregate((), "min")
    with pytest.raises(ValueError, match="median"):
        aggregate((1.0,), "median")  # type: ignore[arg-type]


def test_a_score_without_steps_is_its_value() -> None:
    assert Score(value=0.3).reduce("product") == 0.3
    assert Score(value=0.3, steps=(0.5, 0.5)).reduce("product") == 0.25


def test_usage_adds_up() -> None:
    meter = Meter()
    meter.add(Usage(prompt=5, cached=2, completion=1))
    meter.add(Usage(prompt=1, completion=2))
    assert (meter.usage, meter.calls) == (Usage(prompt=6, cached=2, completion=3), 2)


def test_extending_a_prompt_appends_text_and_ids() -> None:
    prompt = Prompt(chat=CHAT, ids=(1, 2))
    once = prompt.extend(Completion(text="ab", ids=(3, 4), finish="step"))
    twice = once.extend(Completion(text="c", ids=(5,), finish="stop"))
    assert (twice.ids, twice.text, twice.generated) == ((1, 2, 3, 4, 5), "abc", 3)
    assert (prompt.ids, prompt.text, prompt.generated) == ((1, 2), "", 0)


def test_extending_a_prompt_without_ids_counts_by_usage() -> None:
    prompt = Prompt(chat=CHAT).extend(Completion(text="ab", finish="length", usage=Usage(completion=2)))
    assert (prompt.ids, prompt.text, prompt.generated) == (None, "ab", 2)


@pytest.mark.parametrize(
    ("finish", "complete", "truncated"),
    [(None, False, False), ("stop", True, False), ("step", False, False), ("length", False, True)],
)
def test_a_candidate_knows_how_it_ended(finish: str | None, complete: bool, truncated: bool) -> None:
    candidate = Candidate(prompt=Prompt(chat=CHAT), steps=("a\n", "b"), finish=finish)  # type: ignore[arg-type]
    assert (candidate.text, candidate.complete, candidate.truncated) == ("a\nb", complete, truncated)


def test_the_best_choice_is_the_first() -> None:
    first, second = (Choice(candidate=Candidate(prompt=Prompt(chat=CHAT), node=i)) for i in (1, 2))
    assert Answer(choices=(first, second)).best is first


def test_a_bare_prompt_lasts_while_it_is_the_only_message() -> None:
    given = Bare(text="1 + 1 =", ids=(1, 2))
    chat = Chat.of(given)
    assert (chat.question, chat.bare) == ("1 + 1 =", given)
    longer = replace(chat, messages=({"role": "user", "content": "1 + 1 = Think."},))
    assert longer.bare == Bare(text="1 + 1 = Think.")
    talk = replace(chat, messages=(*chat.messages, {"role": "assistant", "content": "2"}))
    assert talk.bare is None
    assert CHAT.bare is None


def test_nouns_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        CHAT.messages = ()  # type: ignore[misc]
    assert replace(CHAT, tools=({},)).tools == ({},)
