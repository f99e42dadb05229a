"""The words of a text, folded so that those of a question meet those of a document."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

ACCENTS = dict.fromkeys(range(0x300, 0x370))
"""Combining marks of the European scripts; those of other scripts are letters and stay."""


@cache
def _pattern() -> Any:
    import regex  # type: ignore[import-untyped]

    # Chinese and Japanese are written without spaces: each character counts as a word.
    alone = r"\p{Han}\p{Hiragana}\p{Katakana}"
    return regex.compile(rf"[{alone}]|[\w\p{{M}}--[{alone}]]+", regex.V1)


def words(text: str) -> list[str]:
    """The words in order, without case, accents and compatibility forms (`Ｃａｆé` is `cafe`).

    Numbers are words too, each part of a decimal one of its own. Chinese and Japanese give characters.
    """
    folded = unicodedata.normalize("NFKD", text.casefold()).translate(ACCENTS)
    found: list[str] = _pattern().findall(unicodedata.normalize("NFKC", folded))
    return found
