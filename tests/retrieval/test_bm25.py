"""The embedded index: corner cases of a corpus, and a loop that goes on while it is built."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("bm25s")

from mull.retrieval.bm25 import BM25Retriever


@pytest.mark.parametrize("texts", [[], [""], ["...", " \n"]])
async def test_a_corpus_without_words_finds_nothing(texts: list[str]) -> None:
    retriever = await BM25Retriever.index("empty", texts)
    assert await retriever.search("bees", 3) == []


async def test_a_text_that_repeats_the_word_wins_over_a_longer_one() -> None:
    """BM25's two ideas: a word counts more the more often it occurs, and less the longer the text is."""
    texts = ["bee " + "word " * 30, "bee", "bee bee word"]
    found = await (await BM25Retriever.index("bees", texts)).search("bee", 3)
    assert [p.id for p in found] == ["3", "2", "1"]


async def test_rare_words_count_more_than_common_ones() -> None:
    texts = ["the bee", "the the the", "the cat", "the dog"]
    found = await (await BM25Retriever.index("rare", texts)).search("the bee", 2)
    assert found[0].id == "1"


async def test_indexing_does_not_block_the_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    before = ticks
    retriever = await BM25Retriever.index("many", [f"passage {n} on subject {n % 97}" for n in range(20_000)])
    advanced = ticks - before
    ticking.cancel()
    assert [p.id for p in await retriever.search("passage 777", 1)] == ["778"]
    # Built on the loop it would be at most two: one before and one after.
    assert advanced > 100
