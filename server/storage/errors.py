"""What can go wrong with the store."""

from __future__ import annotations

from mull.errors import Unavailable


class StoreUnavailable(Unavailable):
    """The store does not answer, or cannot be used; nothing of where it is or what it said is told."""

    code = "store_unavailable"

    def __init__(
        self, message: str = "the store of traces, files and batches does not answer; try again later"
    ) -> None:
        super().__init__(message)


class LeaseLost(Exception):
    """Another server works on the batch now."""
