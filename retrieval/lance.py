"""The scaled retriever: full-text search of a LanceDB table, in a folder or an object store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mull.errors import RetrieverUnavailable
from mull.retrieval.passages import numbered
from mull.types import Passage

if TYPE_CHECKING:
    from lancedb import AsyncConnection, AsyncTable

FRESH = timedelta(seconds=5)
"""How soon what others add to the table is seen."""


class LanceRetriever:
    """Ranks the rows of a table by BM25 over its full-text index; they stay on disk. Open one with `open`.

    A row's `id` column becomes the passage's id (without one, the number that the table gives the row), and
    the other columns but vectors its data. Equal scores come in the order of the rows.

    Args:
        name: The retriever's name.
        connection: The database.
        table: The table, which has a full-text index.
        text: The column that is searched.
        columns: The columns that are read.
    """

    def __init__(
        self, name: str, connection: AsyncConnection, table: AsyncTable, text: str, columns: Sequence[str]
    ) -> None:
        self.name = name
        self._connection = connection
        self._table = table
        self._text = text
        self._columns = tuple(columns)

    @classmethod
    async def open(cls, name: str, uri: str, table: str, *, text: str = "text") -> LanceRetriever:
        """Open a table.

        Args:
            name: The retriever's name.
            uri: A folder, or an address that LanceDB knows (`s3://...`).
            table: The table's name.
            text: The column to search.

        Raises:
            ValueError: there is no such table or column, or the column has no full-text index.
            RetrieverUnavailable: the store does not answer.
        """
        import lancedb
        import pyarrow

        try:
            connection = await lancedb.connect_async(uri, read_consistency_interval=FRESH)
            opened = await connection.open_table(table)
            schema = await opened.schema()
            indices = await opened.list_indices()
        except (RuntimeError, OSError) as error:
            raise RetrieverUnavailable(f"retriever {name!r}: {error}", name=name) from error
        if text not in schema.names:
            raise ValueError(f"table {table!r} has no column {text!r}; it has {', '.join(schema.names)}")
        if not any(index.columns == [text] and index.index_type == "FTS" for index in indices):
            raise ValueError(f"column {text!r} of table {table!r} has no full-text index")
        columns = [field.name for field in schema if not pyarrow.types.is_fixed_size_list(field.type)]
        return cls(name, connection, opened, text, columns)

    async def search(self, query: str, k: int) -> list[Passage]:
        """At most `k` passages, best first.

        Raises:
            RetrieverUnavailable: the table cannot be read.
        """
        if k < 1:
            return []
        wanted = [*self._columns, "_score", "_rowid"]
        clean = query.encode(errors="replace").decode()
        hits = self._table.query().nearest_to_text(clean, columns=[self._text]).with_row_id().select(wanted)
        limit = k + 1
        while True:
            try:
                rows = await hits.limit(limit).to_list()
            except (RuntimeError, ValueError, OSError) as error:
                raise RetrieverUnavailable(f"retriever {self.name!r}: {error}", name=self.name) from error
            rows.sort(key=lambda row: (-row["_score"], row["_rowid"]))
            # Of rows with equal scores LanceDB picks any: more are needed until all that tie are there.
            if len(rows) < limit or rows[k - 1]["_score"] > rows[-1]["_score"]:
                return [self._passage(row) for row in rows[:k]]
            limit *= 2

    async def close(self) -> None:
        """Close the table and the database."""
        self._table.close()
        self._connection.close()

    def _passage(self, row: dict[str, Any]) -> Passage:
        text, score, number = row.pop(self._text), row.pop("_score"), row.pop("_rowid")
        id = row.pop("id", number)
        data = {name: value for name, value in row.items() if value is not None}
        return Passage(text=text, id=str(id), score=score, data=data)


async def write(uri: str, table: str, texts: Sequence[str | Passage]) -> None:
    """Make a table of passages with a full-text index that `LanceRetriever` can search.

    Args:
        uri: A folder, or an address that LanceDB knows.
        table: Name of the new table.
        texts: What goes into it, at least one. Each key of the passages' data becomes a column.

    Raises:
        ValueError: the table exists, or there is nothing to put into it.
    """
    import lancedb
    from lancedb.index import FTS

    rows = [{"text": passage.text, "id": passage.id, **passage.data} for passage in numbered(texts)]
    connection = await lancedb.connect_async(uri)
    try:
        made = await connection.create_table(table, rows)
        await made.create_index("text", config=FTS())
    finally:
        connection.close()
