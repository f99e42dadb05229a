"""What is known already: of the exact tokens of a prefix, of a conversation."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def prefix_keys(ids: Sequence[int], ends: Sequence[int]) -> list[bytes]:
    """A digest of `ids[:end]` for each of the ascending `ends`, in one pass."""
    digest, keys, done = blake2b(digest_size=16), [], 0
    for end in ends:
        digest.update(array("q", ids[done:end]).tobytes())
        keys.append(digest.digest())
        done = end
    return keys


class Memory(Generic[K, T]):
    """Bounded map; what was not used for longest goes first.

    Args:
        size: Entries kept at most.
    """

    def __init__(self, size: int = 1 << 16) -> None:
        if size < 1:
            raise ValueError("size must be at least 1")
        self._size = size
        self._known: OrderedDict[K, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: K) -> T | None:
        """The value of a key; None when there is none (any more)."""
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key]

    def put(self, key: K, value: T) -> None:
        """Keep a value."""
        self._known[key] = value
        self._known.move_to_end(key)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
