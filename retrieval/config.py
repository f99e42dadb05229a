"""The kinds of retrievers, as configuration, and how they are built."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.errors import InvalidRequest
from mull.protocols import Retriever
from mull.retrieval.passages import cut, read
from mull.types import Passage


class Config(BaseModel):
    """Settings of a retriever: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BM25Config(Config):
    """Passages of a JSONL file, indexed in memory: see `BM25Retriever`."""

    kind: Literal["bm25"]
    path: str = Field(min_length=1, description='JSONL file of {"text": ..., "id": ...}.')
    chunk: int | None = Field(None, ge=1, description="Characters; longer texts are cut at sentences.")
    overlap: int = Field(0, ge=0, description="Characters repeated from one chunk of a text in the next.")

    @model_validator(mode="after")
    def _overlap_is_part_of_a_chunk(self) -> BM25Config:
        if self.overlap and (self.chunk is None or self.overlap >= self.chunk):
            raise ValueError("`overlap` is less than `chunk`")
        return self


class LanceConfig(Config):
    """A LanceDB table with a full-text index: see `LanceRetriever`."""

    kind: Literal["lancedb"]
    uri: str = Field(min_length=1, description="A folder, or an address that LanceDB knows.")
    table: str = Field(min_length=1)
    text: str = Field("text", min_length=1, description="The column that is searched.")


RetrieverConfig = Annotated[BM25Config | LanceConfig, Field(discriminator="kind")]
"""One retriever; `kind` tells which fields it has."""

EXTRA = {"bm25": "retrieval", "lancedb": "lancedb"}
"""The extra of the package that brings what a kind needs."""


class Retrievers(Mapping[str, Retriever]):
    """Retrievers by name."""

    def __init__(self, retrievers: Mapping[str, Retriever]) -> None:
        self._retrievers = dict(retrievers)

    def __getitem__(self, name: str) -> Retriever:
        return self._retrievers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._retrievers)

    def __len__(self) -> int:
        return len(self._retrievers)

    async def close(self) -> None:
        """Close what they have open."""
        for retriever in self._retrievers.values():
            if hasattr(retriever, "close"):
                await retriever.close()


async def build(configs: Mapping[str, RetrieverConfig]) -> Retrievers:
    """Read and index what the retrievers search, one after the other.

    Raises:
        InvalidRequest: naming the retriever: a file that cannot be read, a line in it that is wrong, a
            missing table, column or index, a package that is not installed.
        RetrieverUnavailable: a store does not answer.
    """
    made: dict[str, Retriever] = {}
    try:
        for name, config in configs.items():
            made[name] = await _named(name, config)
    except BaseException:
        await Retrievers(made).close()
        raise
    return Retrievers(made)


async def _named(name: str, config: RetrieverConfig) -> Retriever:
    try:
        return await _make(name, config)
    except ImportError as error:
        missing = f"{error.name} is not installed; pip install 'mull[{EXTRA[config.kind]}]'"
        raise InvalidRequest(f"retriever {name!r}: {missing}", param=f"retrievers.{name}") from error
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"retriever {name!r}: {error}", param=f"retrievers.{name}") from error


async def _make(name: str, config: RetrieverConfig) -> Retriever:
    match config:
        case BM25Config():
            from mull.retrieval.bm25 import BM25Retriever

            return await BM25Retriever.index(name, await asyncio.to_thread(_passages, config))
        case LanceConfig():
            from mull.retrieval.lance import LanceRetriever

            return await LanceRetriever.open(name, config.uri, config.table, text=config.text)


def _passages(config: BM25Config) -> list[Passage]:
    found = read(config.path)
    return found if config.chunk is None else list(cut(found, config.chunk, config.overlap))
