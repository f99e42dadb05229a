"""Steps: delimiters kept, empty ones never scored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.verifiers.steps import split


def texts(text: str, delimiter: str = "\n") -> list[str]:
    return [step.text for step in split(text, delimiter)]


def test_delimiters_stay_with_the_step_they_end() -> None:
    assert texts("a\nb\nc") == ["a\n", "b\n", "c"]
    assert texts("a ки b ки", " ки ") == ["a ки ", "b ки"]


def test_a_trailing_empty_step_is_no_step() -> None:
    assert texts("a\nb\n") == ["a\n", "b\n"]
    assert texts("a\n  \n") == ["a\n  \n"]
    assert texts("a\n  ") == ["a\n  "]


def test_blank_lines_do_not_move_the_point_of_judgement() -> None:
    first, second = split("a\n\n\nb", "\n")
    assert (first.text, first.end) == ("a\n\n\n", 2)
    assert (second.text, second.end) == ("b", 5)


def test_leading_blank_lines_belong_to_the_first_step() -> None:
    (step,) = split("\n\na\n", "\n")
    assert (step.text, step.end) == ("\n\na\n", 4)


def test_an_unterminated_last_step_is_judged_at_its_last_character() -> None:
    assert [step.end for step in split("ab\ncde", "\n")] == [3, 6]


@pytest.mark.parametrize("text", ["", " ", "\n", "\n \n\t"])
def test_blank_text_has_no_steps(text: str) -> None:
    assert split(text, "\n") == ()


def test_an_empty_delimiter_is_refused() -> None:
    with pytest.raises(ValueError, match="empty separator"):
        split("a", "")


@given(st.text(alphabet="ab \n"), st.sampled_from(["\n", "\n\n", "ab"]))
def test_steps_join_to_the_text(text: str, delimiter: str) -> None:
    steps = split(text, delimiter)
    assert "".join(step.text for step in steps) == (text if steps else "")
    assert all(step.text.strip() for step in steps)
    assert [step.end for step in steps] == sorted({step.end for step in steps})


@given(st.text(alphabet="ab \n"), st.text(alphabet="ab \n"))
def test_a_step_once_ended_stays_as_it_was_judged(text: str, more: str) -> None:
    ended = [step.end for step in split(text, "\n") if text[: step.end].endswith("\n")]
    assert [step.end for step in split(text + more, "\n")][: len(ended)] == ended
