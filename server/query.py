"""Reading what stands in a URL after the question mark."""

from __future__ import annotations

from mull.errors import InvalidRequest


def whole_number(name: str, given: str, *, most: int) -> int:
    """A number from 1 to `most`.

    Raises:
        InvalidRequest: it is none.
    """
    if not (given.isascii() and given.isdigit() and len(given) <= 9 and 1 <= int(given) <= most):
        raise InvalidRequest(f"{name} must be an integer from 1 to {most}, not {given!r:.60}", param=name)
    return int(given)
