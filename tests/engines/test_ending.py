"""Where completions end, against the plain reading of what stop strings and delimiters mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.engines.ending import beyond, conclude, stop_position, stop_strings
from mull.types import Finish, Sampling


def engine(tokens: list[str], stops: list[str]) -> tuple[str, str, int]:
    """What vLLM makes of sampled tokens: the text behind the first stop string, that string, tokens used."""
    text = ""
    for used, token in enumerate(tokens, start=1):
        text += token
        ends = [(at + len(s), i, s) for i, s in enumerate(stops) if (at := text.find(s)) >= 0]
        if ends:
            end, _, stop = min(ends)
            return text[:end], stop, used
    return text, "", len(tokens)


@pytest.mark.parametrize(
    ("text", "token", "rest"),
    [
        ("one\n", "\n", ""),
        ("one\n", "\nStep", "Step"),
        ("one\n", "e\nStep", "Step"),
        ("one\n", "\n\n", "\n"),
        ("one\n\n", "\n", ""),
        ("one\n", " \ufffd", ""),
        ("", "", ""),
    ],
)
def test_the_rest_of_a_token_behind_a_delimiter(text: str, token: str, rest: str) -> None:
    assert beyond(text, token) == rest


@pytest.mark.parametrize(
    ("text", "token", "previous", "rest"),
    [
        ("\n\n", "\n\n", "\n", "\n"),
        ("one\n\n", "\n\n", "one", ""),
        ("one\n\n", "\n\n", "one\n", "\n"),
        ("one\n\n", "\n\n", "\ufffd", ""),
        ("\n\n", "\n\n", "", ""),
    ],
)
def test_what_stands_before_a_token_tells_where_it_begins(
    text: str, token: str, previous: str, rest: str
) -> None:
    assert beyond(text, token, previous) == rest


@pytest.mark.parametrize(
    ("before", "text", "stops", "seen", "position"),
    [
        ("", "a stop b", ["stop"], 0, 2),
        ("", "a stop b", ["stop"], 8, None),
        ("", "a stop b", ["stop"], 5, 2),
        ("a\n", "\nb", ["\n\n"], 2, 0),
        ("a\n\n", "b", ["\n\n"], 1, None),
        ("", "\nb", ["\n\n"], 2, None),
        ("sto", "p", ["stop"], 1, 0),
        ("", "xEND stop", ["stop", "END"], 0, 1),
        ("", "ab", ["ab", "b"], 0, 0),
        ("", "", ["a"], 0, None),
    ],
)
def test_stop_strings_that_an_engine_cannot_see(
    before: str, text: str, stops: list[str], seen: int, position: int | None
) -> None:
    assert stop_position(before, text, stops, seen=seen) == position


def test_a_delimiter_that_is_also_a_stop_string_stops() -> None:
    sampling = Sampling(step="\n", stop=("END", "\n"))
    assert stop_strings(sampling) == ["END", "\n"]
    ended = conclude("one\n", "\n", reason="stop", stop="\n", sampling=sampling, before="")
    assert ended == ("one", "stop")


@pytest.mark.parametrize(
    ("reason", "stop", "finish"),
    [
        ("stop", None, "stop"),
        ("stop", 17, "stop"),
        ("length", None, "length"),
        ("repetition", None, "length"),
        ("abort", None, "length"),
        (None, None, "length"),
    ],
)
def test_what_ends_without_a_string(reason: str | None, stop: int | None, finish: Finish) -> None:
    for sampling in (Sampling(), Sampling(step="\n"), Sampling(stop=("x",))):
        assert conclude("one", "", reason=reason, stop=stop, sampling=sampling, before="") == ("one", finish)


def test_the_text_of_an_end_token_is_no_part_of_the_answer() -> None:
    ended = conclude("one<eos>", "<eos>", reason="stop", stop=None, sampling=Sampling(), before="")
    assert ended == ("one", "stop")


@given(
    answer=st.lists(st.text("ab\n.", min_size=1, max_size=3), max_size=12),
    stops=st.lists(st.text("ab\n.", min_size=1, max_size=3), max_size=2, unique=True),
    step=st.text("ab\n.", min_size=1, max_size=2),
)
def test_an_answer_in_steps_is_the_answer_in_one_piece(
    answer: list[str], stops: list[str], step: str
) -> None:
    """Whatever the tokens: the steps' texts are their tokens', and the stop strings end the answer."""
    sampling = Sampling(stop=tuple(stops), step=step)
    before, finish, left = "", "step", answer
    while finish == "step" and left:
        text, stop, used = engine(left, stop_strings(sampling))
        tokens, left = left[:used], left[used:]
        reason = "stop" if stop or not left else "length"
        ended, finish = conclude(
            text,
            tokens[-1] if stop else "",
            previous="".join(tokens[:-1][-len(step) :]),
            reason=reason,
            stop=stop or None,
            sampling=sampling,
            before=before,
        )
        if finish == "step":
            assert ended == "".join(tokens)
            assert step in ended
        before += ended
    whole = "".join(answer)
    ends = [(at + len(s), at) for s in stops if (at := whole.find(s)) >= 0]
    if not ends:
        assert before == whole
    else:
        end, at = min(ends)
        assert finish == "stop" or not left
        # A stop string that begins in an earlier step ends the answer at that step's end.
        assert whole[:at] == before[:at]
        assert len(before) < end
