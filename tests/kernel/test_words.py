"""Words, folded."""

from __future__ import annotations

import pytest

from mull.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("... !", []),
        ("The cat's Ｃａｆé!", ["the", "cat", "s", "cafe"]),
        ("Straße naïve", ["strasse", "naive"]),
        ("1,000 is 3.14", ["1", "000", "is", "3", "14"]),
        ("東京タワー x", ["東", "京", "タ", "ワ", "ー", "x"]),
        ("हिन्दी 한국어 Москва", ["हिन्दी", "한국어", "москва"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_composed_and_decomposed_forms_are_the_same_word() -> None:
    assert words("ガe\u0301") == words("カ\u3099é") == ["ガ", "e"]
