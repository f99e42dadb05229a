"""What a reply says: without its thoughts, as a number, as one of a few words."""

from __future__ import annotations

import re
from collections.abc import Collection

from mull.answers.extract import without_thoughts

_NUMBER = re.compile(r"(?<![\w.])\d{1,4}(?!\w|\.\d)")
_WORD = re.compile(r"[^\W\d_]+")


def spoken(reply: str) -> str:
    """The reply without what was only thought; all of it where there is nothing else."""
    return without_thoughts(reply).strip() or reply.strip()


def last_number(reply: str, count: int) -> int | None:
    """The last whole number from 1 to `count`; None when there is none."""
    numbers = [int(found) for found in _NUMBER.findall(reply)]
    return next((number for number in reversed(numbers) if 1 <= number <= count), None)


def last_word(reply: str, known: Collection[str]) -> str | None:
    """The last of the known words (in small letters), whatever its case; None when there is none."""
    words = (word.casefold() for word in reversed(_WORD.findall(reply)))
    return next((word for word in words if word in known), None)
