"""What a broken law is."""

from __future__ import annotations


class Broken(AssertionError):
    """A law does not hold."""


def require(holds: bool, law: str) -> None:
    """Raise `Broken` unless it holds."""
    if not holds:
        raise Broken(law)
