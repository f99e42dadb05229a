"""Texts cut into pieces that fit a limit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.chunks import chunks
from mull.words import words


def test_sentences_stay_whole_where_they_fit() -> None:
    text = 'One two. "Three four?" Five\nsix seven.\n\nEight! 九十。十一。'
    assert chunks(text, 14) == ["One two.", '"Three four?"', "Five", "six seven.", "Eight! 九十。十一。"]
    assert chunks(text, 1000) == [text]


def test_chunks_are_as_long_as_the_size_allows() -> None:
    assert chunks("Aa. Bb. Cc. Dd. Ee.", 7) == ["Aa. Bb.", "Cc. Dd.", "Ee."]


def test_the_end_of_a_chunk_starts_the_next_one() -> None:
    assert chunks("Aa. Bb. Cc. Dd. Ee.", 11, overlap=3) == ["Aa. Bb. Cc.", "Cc. Dd. Ee."]
    # An overlap that leaves no room for something new gives way.
    assert chunks("Aa. Bbbbbb. Cccccc.", 11, overlap=10) == ["Aa. Bbbbbb.", "Cccccc."]


def test_long_sentences_are_cut_between_words_and_long_words_between_characters() -> None:
    assert chunks("one two three, four", 9) == ["one two", "three,", "four"]
    assert chunks("x" * 25 + " yy", 10) == ["x" * 10, "x" * 10, "xxxxx yy"]


def test_the_length_is_measured_as_told() -> None:
    assert chunks("a b c. d e. f g h i j", 3, length=lambda text: len(words(text))) == [
        "a b c.",
        "d e. f",
        "g h i",
        "j",
    ]


def test_blank_texts_have_no_chunks() -> None:
    assert chunks("", 5) == chunks(" \n\n ", 5) == []


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (5, 5), (5, -1)])
def test_sizes_must_fit(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        chunks("text", size, overlap=overlap)


def test_a_character_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="single character"):
        chunks("ab é", 1, length=lambda text: len(text.encode()))


@given(shape=st.text(alphabet="ab .!?\n。", max_size=200), size=st.integers(2, 40), share=st.floats(0, 0.9))
def test_nothing_is_lost_and_everything_fits(shape: str, size: int, share: float) -> None:
    # Each letter is another one, so that it can be told which part of the text a chunk is.
    letters = {"a": 0x100, "b": 0x4E00}
    text = "".join(chr(letters[c] + i) if c in letters else c for i, c in enumerate(shape))

    def length(text: str) -> int:
        return (len(text.encode()) + 1) // 2

    found = chunks(text, size, overlap=int(size * share), length=length)
    assert all(chunk in text and chunk == chunk.strip() and 0 < length(chunk) <= size for chunk in found)
    seen = dict.fromkeys(c for chunk in found for c in chunk if c.isalpha())
    assert list(seen) == [c for c in text if c.isalpha()]
    for one, other in pairwise(found):
        repeated = set(one) & set(other) - set(" .!?\n。")
        assert length("".join(repeated)) <= int(size * share)


@given(text=st.text(alphabet="ab .!?\n。é", max_size=200), size=st.integers(1, 40))
def test_without_overlap_the_chunks_are_the_text(text: str, size: int) -> None:
    assert "".join("".join(chunks(text, size)).split()) == "".join(text.split())


def test_long_runs_of_blanks_take_no_longer_than_other_texts() -> None:
    assert chunks(f"a{' ' * 200_000}b", 10) == ["a", "b"]
