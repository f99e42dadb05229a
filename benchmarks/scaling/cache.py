"""The prefix cache of one engine: blocks of tokens, the one unused for longest given away first.

As vLLM's block pool: a block is found again by all tokens up to its end; what is not used by a running
sequence stays until its place is needed, the end of a prefix before its begin.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence

BLOCK = 32
"""Tokens."""

_numbers = itertools.count()

Key = tuple[int, int]


class Prefix:
    """The tokens up to a point: those of another prefix and `length` more, which nobody else has.

    Args:
        length: Tokens that it adds.
        before: What they follow; nothing by default.
    """

    __slots__ = ("end", "keys", "number")

    def __init__(self, length: int, before: Prefix | None = None) -> None:
        self.number = next(_numbers)
        start, above = (before.end, before.keys) if before is not None else (0, ())
        self.end: int = start + length
        """Tokens in all."""
        new = range(start // BLOCK, self.end // BLOCK)
        self.keys: tuple[Key, ...] = (*above, *((self.number, at) for at in new))
        """Of its full blocks: each stands for all tokens up to its end."""


class Cache:
    """So many blocks.

    Args:
        blocks: How many.
    """

    def __init__(self, blocks: int) -> None:
        self._blank = blocks
        self._used: dict[Key, int] = {}
        self._unused: OrderedDict[Key, None] = OrderedDict()

    @property
    def free(self) -> int:
        """Blocks that no sequence holds."""
        return self._blank + len(self._unused)

    def found(self, keys: Sequence[Key]) -> int:
        """How many of the blocks, from the first one on, are there."""
        for at, key in enumerate(keys):
            if key not in self._used and key not in self._unused:
                return at
        return len(keys)

    def take(self, keys: Sequence[Key], new: int) -> bool:
        """Hold blocks that are there and so many new ones; False, and nothing done, if there is no room."""
        resting = sum(key in self._unused for key in keys)
        if self.free - resting < new:
            return False
        for key in keys:
            self._unused.pop(key, None)
            self._used[key] = self._used.get(key, 0) + 1
        for _ in range(new):
            if self._blank:
                self._blank -= 1
            else:
                self._unused.popitem(last=False)
        return True

    def fill(self, keys: Sequence[Key]) -> list[Key]:
        """Give new blocks their names; those returned are known now, the others are there twice."""
        named = [key for key in keys if key not in self._used and key not in self._unused]
        self._used.update((key, 1) for key in named)
        return named

    def release(self, keys: Sequence[Key], nameless: int) -> None:
        """Hold blocks no more: those with names, in the order of the tokens, and others."""
        self._blank += nameless
        for key in reversed(keys):
            self._used[key] -= 1
            if not self._used[key]:
                del self._used[key]
                self._unused[key] = None
