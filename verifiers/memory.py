"""What has been judged already, by the exact tokens up to the judgement."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")


def prefix_keys(ids: Sequence[int], ends: Sequence[int]) -> list[bytes]:
    """A digest of `ids[:end]` for each of the ascending `ends`, in one pass."""
    digest, keys, done = blake2b(digest_size=16), [], 0
    for end in ends:
        digest.update(array("q", ids[done:end]).tobytes())
        keys.append(digest.digest())
        done = end
    return keys


class Memory(Generic[T]):
    """Bounded map from prefixes to judgements; the least recently used go first.

    vLLM returns values only for the tokens that it computes. What it reads from its prefix cache has been
    judged before, and this is where the judgement is kept.

    Args:
        size: Judgements kept at most.
    """

    def __init__(self, size: int = 1 << 16) -> None:
        if size < 1:
            raise ValueError("size must be at least 1")
        self._size = size
        self._known: OrderedDict[bytes, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: bytes) -> T | None:
        """The judgement of a prefix; None when there is none (any more)."""
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key]

    def put(self, key: bytes, value: T) -> None:
        """Keep a judgement."""
        self._known[key] = value
        self._known.move_to_end(key)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
