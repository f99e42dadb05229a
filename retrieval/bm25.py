"""The embedded retriever: BM25 in the memory of this process, over bm25s."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mull.retrieval.passages import numbered
from mull.types import Passage
from mull.words import words


class BM25Retriever:
    """Ranks passages by BM25 (Robertson & Zaragoza 2009) in Lucene's variant, with k1 = 1.5 and b = 0.75.

    Only passages that share a word with the query are found. bm25s (Lù 2024) weighs every word of every
    passage when it builds the index, so a search only adds up.

    The constructor indexes, which takes seconds for many passages: in a coroutine call `BM25Retriever.index`.

    Args:
        name: The retriever's name.
        texts: What to search. Strings get their number, from 1, as id.
    """

    def __init__(self, name: str, texts: Sequence[str | Passage]) -> None:
        self.name = name
        self._passages = numbered(texts)
        self._vocabulary: dict[str, int] = {}
        ids = [
            [self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words(passage.text)]
            for passage in self._passages
        ]
        self._index: Any = None
        if self._vocabulary:
            from bm25s import BM25

            self._index = BM25(method="lucene", k1=1.5, b=0.75)
            self._index.index((ids, self._vocabulary), create_empty_token=False, show_progress=False)

    @classmethod
    async def index(cls, name: str, texts: Sequence[str | Passage]) -> BM25Retriever:
        """A retriever whose index is built in a thread."""
        return await asyncio.to_thread(cls, name, texts)

    async def search(self, query: str, k: int) -> list[Passage]:
        """At most `k` passages, best first; equal scores in the order in which they were given."""
        return await asyncio.to_thread(self._search, query, k)

    def _search(self, query: str, k: int) -> list[Passage]:
        known = [word for word in words(query) if word in self._vocabulary]
        if not known or k < 1:
            return []
        import numpy as np

        scores = self._index.get_scores(known)
        hits = np.flatnonzero(scores > 0)
        if len(hits) > k:
            worst = np.partition(scores[hits], -k)[-k]
            hits = hits[scores[hits] >= worst]
        best = hits[np.argsort(-scores[hits], kind="stable")][:k]
        return [replace(self._passages[i], score=float(scores[i])) for i in best]
