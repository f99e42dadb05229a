"""What every retriever promises: order, ties, bounds, Unicode, many searches at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from mull.protocols import Retriever
from mull.retrieval.bm25 import BM25Retriever
from mull.types import Passage

Make = Callable[[Sequence[str | Passage]], Awaitable[Retriever]]

FACTS = (
    "The Danube flows through Vienna, Budapest and Belgrade.",
    "Vienna is the capital of Austria; Vienna has two million people.",
    "Bees make honey from nectar.",
    "A bee hive can hold fifty thousand bees, and bees dance.",
    "Budapest was two cities until 1873.",
)


@pytest_asyncio.fixture(params=["bm25", "lancedb"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Retriever] = []

    async def bm25(texts: Sequence[str | Passage]) -> Retriever:
        return await BM25Retriever.index("facts", texts)

    async def lancedb(texts: Sequence[str | Passage]) -> Retriever:
        from mull.retrieval.lance import LanceRetriever, write

        await write(str(tmp_path), "facts", texts)
        made.append(await LanceRetriever.open("facts", str(tmp_path), "facts"))
        return made[-1]

    if request.param == "lancedb":
        pytest.importorskip("lancedb", reason="187 MB, so not among the packages for development")
        yield lancedb
    else:
        pytest.importorskip("bm25s")
        yield bm25
    for retriever in made:
        await retriever.close()  # type: ignore[attr-defined]


async def ids(retriever: Retriever, query: str, k: int) -> list[str]:
    return [passage.id for passage in await retriever.search(query, k)]


async def test_it_is_a_retriever(make: Make) -> None:
    retriever = await make(FACTS)
    assert isinstance(retriever, Retriever)
    assert retriever.name == "facts"


async def test_the_best_come_first(make: Make) -> None:
    retriever = await make(FACTS)
    assert await ids(retriever, "Vienna", 3) == ["2", "1"]
    assert await ids(retriever, "What do bees make from nectar?", 1) == ["3"]
    assert await ids(retriever, "Budapest 1873", 2) == ["5", "1"]
    found = await retriever.search("Vienna Danube bees", 9)
    assert [p.text for p in found] == [FACTS[int(p.id) - 1] for p in found]
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert all(p.score > 0 for p in found)


async def test_texts_without_a_word_of_the_query_are_not_found(make: Make) -> None:
    retriever = await make(FACTS)
    for query in ("", "  \n", "?!", "zebra"):
        assert await retriever.search(query, 3) == []


async def test_k_bounds_the_number(make: Make) -> None:
    retriever = await make(FACTS)
    assert len(await retriever.search("bees Vienna Budapest", 2)) == 2
    assert len(await retriever.search("bees Vienna Budapest", 1000)) == 5
    assert await retriever.search("bees", 0) == []


async def test_equal_scores_keep_the_order_of_the_texts(make: Make) -> None:
    retriever = await make(["green apple", *["red apple"] * 40, "yellow pear"])
    for k in (1, 7, 40, 60):
        assert await ids(retriever, "red", k) == [str(n) for n in range(2, 2 + min(k, 40))]


async def test_any_script(make: Make) -> None:
    retriever = await make(
        ["Ein Café in Zürich", "東京 は 日本 の 首都", "Москва — столица России", "emoji 🎉 party"]
    )
    assert await ids(retriever, "cafe zurich", 2) == ["1"]
    assert await ids(retriever, "日本", 2) == ["2"]
    assert await ids(retriever, "МОСКВА", 2) == ["3"]
    assert await ids(retriever, "party\ud83c", 2) == ["4"]


async def test_ids_and_data_are_kept(make: Make) -> None:
    passage = Passage(text="Bees dance.", id="bees#2", data={"title": "Bees", "page": 7})
    (found,) = await (await make([passage])).search("bees", 3)
    assert (found.text, found.id, dict(found.data)) == ("Bees dance.", "bees#2", {"title": "Bees", "page": 7})


async def test_many_searches_at_once_give_what_each_gives_alone(make: Make) -> None:
    retriever = await make(FACTS)
    queries = ["Vienna", "bees honey", "Budapest cities", "nothing here", ""] * 20
    alone = {query: await retriever.search(query, 3) for query in set(queries)}
    together = await asyncio.gather(*(retriever.search(query, 3) for query in queries))
    assert together == [alone[query] for query in queries]
