"""What was judged already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.memory import Memory, prefix_keys


def test_the_least_recently_used_goes_first() -> None:
    memory: Memory[bytes, int] = Memory(2)
    memory.put(b"a", 1)
    memory.put(b"b", 2)
    assert memory.get(b"a") == 1
    memory.put(b"c", 3)
    assert memory.get(b"b") is None
    assert (memory.get(b"a"), memory.get(b"c"), len(memory)) == (1, 3, 2)


def test_it_needs_room() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Memory(0)


@given(st.lists(st.integers(0, 3), min_size=1), st.lists(st.integers(0, 3), min_size=1))
def test_keys_are_equal_exactly_for_equal_prefixes(left: list[int], right: list[int]) -> None:
    lefts = prefix_keys(left, range(1, len(left) + 1))
    rights = prefix_keys(right, range(1, len(right) + 1))
    for i, a in enumerate(lefts, 1):
        for j, b in enumerate(rights, 1):
            assert (a == b) == (left[:i] == right[:j])


def test_keys_do_not_depend_on_where_else_the_prefix_is_cut() -> None:
    assert prefix_keys([5, 6, 7], [1, 3])[-1] == prefix_keys([5, 6, 7], [3])[0]
