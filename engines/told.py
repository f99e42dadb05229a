"""What another server tells, taken for what it should be or refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

TOKENS = 2**31
"""Token ids are below it."""

UNFINISHED = ("abort", "error")
"""Finish reasons of what did not finish."""


def text(value: Any) -> str:
    """A text, which may be missing.

    Raises:
        ValueError: it is something else.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} in place of a text")
    return value


def count(value: Any, most: int, *, what: str) -> int:
    """How many there are of something, at most `most`.

    Raises:
        ValueError: it is no such number.
    """
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"an impossible number of {what}")
    return value


def ids(value: Any, most: int) -> list[int]:
    """Token ids, at most `most`, which may be missing.

    Raises:
        ValueError: they are no token ids, or too many.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(type(id) is int and 0 <= id < TOKENS for id in value):
        raise ValueError("tokens that are none")
    if len(value) > most:
        raise ValueError("more tokens than were asked for")
    return value


def logprob(value: Any) -> float:
    """A log-probability.

    Raises:
        ValueError: it is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a log-probability that is no number")
    return float(value)


def reason(value: Any) -> str | None:
    """Why an answer has finished, None while it has not.

    Raises:
        ValueError: it did not finish, or the reason is none.
    """
    if value is None:
        return None
    if not isinstance(value, str) or value in UNFINISHED:
        raise ValueError(f"it gave up ({value})" if value in UNFINISHED else "no reason for its end")
    return value


def only(choices: Any) -> Sequence[Any]:
    """The one choice there is, or none in an event about something else.

    Raises:
        ValueError: there are others.
    """
    if not isinstance(choices, list) or len(choices) > 1 or (choices and choices[0].get("index", 0) != 0):
        raise ValueError("choices that were not asked for")
    return choices
