"""Growing answers are judged at the cost of what is new, whatever the engine has in its cache."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mull.verifiers.engine import Tail
from mull.verifiers.incremental import Incremental
from mull.verifiers.reading import Reading

BLOCK = 4
MARK = 0
"""The token that ends a step."""


class Cache:
    """An engine with a prefix cache of whole blocks; a token's value is the sum of the tokens up to it."""

    def __init__(self) -> None:
        self.blocks: set[tuple[int, ...]] = set()
        self.asked: list[tuple[int, bool]] = []

    async def __call__(self, ids: Sequence[int], *, fresh: bool) -> Tail:
        ends = range(BLOCK, len(ids), BLOCK)
        hits = list(itertools.takewhile(lambda end: tuple(ids[:end]) in self.blocks, ends))
        cached = hits[-1] if hits and not fresh else 0
        # As in vLLM, blocks can be found from the moment at which they are scheduled.
        self.blocks |= {tuple(ids[:end]) for end in range(BLOCK, len(ids) + 1, BLOCK)}
        self.asked.append((len(ids) - cached, fresh))
        await asyncio.sleep(0)
        return Tail(cached, list(itertools.accumulate(ids))[cached:], len(ids) - cached)


def whole(tail: Tail, first: int, last: int) -> int | None:
    """A judgement that needs all values of the step, from its first token to its last."""
    return tail[last] - tail[first] if first >= tail.first else None


def at_end(tail: Tail, first: int, last: int) -> int | None:
    """A judgement that needs only the value of the step's last token."""
    return int(tail[last]) if last >= tail.first else None


def reading(prompt: Sequence[int], answer: Sequence[int]) -> Reading:
    ids = [*prompt, *answer]
    marks = tuple(i for i in range(len(prompt), len(ids)) if ids[i] == MARK)
    return Reading(ids, len(prompt), marks)


def truth(each: Reading) -> tuple[int, ...]:
    sums = list(itertools.accumulate(each.ids))
    return tuple(sums[mark] for mark in each.marks)


async def run(
    incremental: Incremental[int], *answers: Sequence[int]
) -> list[tuple[tuple[int, ...], int] | None]:
    return await incremental.run([reading((1, 2, 3), answer) for answer in answers])


async def test_only_new_tokens_are_computed() -> None:
    cache = Cache()
    incremental = Incremental(cache, at_end, 100)
    await run(incremental, (5, 6, 7, 8, MARK))
    await run(incremental, (5, 6, 7, 8, MARK, 9, MARK))
    assert cache.asked == [(8, False), (2, False)]


async def test_what_is_known_is_not_asked_again() -> None:
    cache = Cache()
    incremental = Incremental(cache, at_end, 100)
    (first,) = await run(incremental, (5, MARK))
    (second,) = await run(incremental, (5, MARK))
    assert first is not None
    assert second == (first[0], 0)
    assert len(cache.asked) == 1


async def test_copies_are_judged_once_and_billed_once() -> None:
    cache = Cache()
    first, second = await run(Incremental(cache, at_end, 100), (5, MARK), (5, MARK))
    assert first is not None
    assert second == (first[0], 0)
    assert len(cache.asked) == 1


async def test_siblings_in_one_batch_share_what_one_of_them_computes() -> None:
    cache = Cache()
    long, other = (5, 6, 7, MARK, 8, MARK), (5, 6, 7, MARK, 9, MARK)
    judged = await run(Incremental(cache, at_end, 100), long, other)
    assert [j and j[0] for j in judged] == [truth(reading((1, 2, 3), a)) for a in (long, other)]
    assert [fresh for _, fresh in cache.asked] == [False, False]


async def test_a_forgotten_judgement_is_computed_afresh() -> None:
    cache = Cache()
    incremental = Incremental(cache, at_end, 1)
    answer = (5, 6, MARK, 7, 8, MARK)
    (first,) = await run(incremental, answer)
    (second,) = await run(incremental, answer)
    assert first is not None
    assert second is not None
    assert second[0] == first[0]
    assert [fresh for _, fresh in cache.asked] == [False, False, True]
    assert second[1] == sum(computed for computed, _ in cache.asked[1:])


async def test_without_steps_there_is_nothing_to_judge() -> None:
    cache = Cache()
    assert await run(Incremental(cache, at_end, 100), (), (5,)) == [None, None]
    assert await Incremental(cache, at_end, 100).run([None]) == [None]
    assert cache.asked == []


Answers = st.lists(st.lists(st.sampled_from([MARK, 1, 2]), max_size=12), max_size=6)


@given(st.lists(Answers, max_size=4), st.integers(1, 8))
def test_any_order_of_batches_and_any_memory_give_the_full_scores(
    batches: list[list[list[int]]], memory: int
) -> None:
    async def check() -> None:
        ends = Incremental(Cache(), at_end, memory)
        spans = Incremental(Cache(), whole, memory)
        for batch in batches:
            readings = [reading((1, 2, 3), answer) for answer in batch]
            fresh = [await Incremental(Cache(), whole, 100).run([each]) for each in readings]
            for each, found in zip(readings, await ends.run(readings), strict=True):
                assert (found[0] if found else ()) == truth(each)
            for (expected,), found in zip(fresh, await spans.run(readings), strict=True):
                assert (found and found[0]) == (expected and expected[0])

    asyncio.run(check())
