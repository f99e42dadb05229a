"""A retriever of a few texts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from mull.errors import RetrieverUnavailable
from mull.types import Passage
from mull.words import words


class ScriptedRetriever:
    """Implements `mull.protocols.Retriever` over texts: those that have most words of the query.

    Args:
        texts: By their ids, or in an order that numbers them from 0.
        name: Under which it is asked for.
        fail_after: Number of searches after which it is gone.
        pause: Awaited at each search, to hold or slow it; by default a bare turn of the event loop.
    """

    def __init__(
        self,
        texts: Mapping[str, str] | Sequence[str],
        *,
        name: str = "scripted",
        fail_after: int | None = None,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.queries: list[str] = []
        """What it was asked so far."""
        named = texts if isinstance(texts, Mapping) else {str(i): text for i, text in enumerate(texts)}
        self._passages = [Passage(id=id, text=text) for id, text in named.items()]
        self._fail_after = fail_after
        self._pause = pause

    async def search(self, query: str, k: int) -> list[Passage]:
        """The `k` passages that share most words with the query, without those that share none."""
        self.queries.append(query)
        await (asyncio.sleep(0) if self._pause is None else self._pause())
        if self._fail_after is not None and len(self.queries) > self._fail_after:
            raise RetrieverUnavailable("the scripted retriever is gone", name=self.name)
        wanted = set(words(query))
        scored = [
            Passage(id=p.id, text=p.text, score=float(len(wanted & set(words(p.text)))))
            for p in self._passages
        ]
        return sorted((p for p in scored if p.score), key=lambda p: -p.score)[:k]
