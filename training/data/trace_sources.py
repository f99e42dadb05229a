"""Where servers keep traces: a folder of one, or a database of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mull.training.data.rows import lines
from mull.training.errors import TrainingError

if TYPE_CHECKING:
    import psycopg

URLS = ("postgresql://", "postgres://")
AT_ONCE = 100
"""Traces that are fetched together."""


class Source(Protocol):
    """Traces that servers kept."""

    def traces(self) -> Iterable[bytes]:
        """Each as JSON, oldest first.

        Raises:
            TrainingError: they cannot be read, or nothing was ever kept there.
        """
        ...

    def feedback(self) -> Iterable[bytes]:
        """What users said, each as JSON; of several on the same thing the last one counts."""
        ...


def source_at(place: Path | str) -> Source:
    """What is kept at a place: a folder, or the URL of a PostgreSQL database."""
    if isinstance(place, str) and place.startswith(URLS):
        return TraceDatabase(place)
    return TraceFolder(Path(place))


@dataclass(frozen=True)
class TraceFolder:
    """`traces.dir` of a server."""

    path: Path

    def traces(self) -> Iterator[bytes]:
        files = [path for path in self.path.glob("traces-*-*.jsonl") if path.stem.rsplit("-", 1)[1].isdigit()]
        if not files:
            raise TrainingError(
                f"{self.path}: there are no traces-*.jsonl; a server writes them where traces.dir is set"
            )
        for path in sorted(files, key=_order):
            yield from (line for _, line in lines(path))

    def feedback(self) -> Iterator[bytes]:
        path = self.path / "feedback.jsonl"
        if path.exists():
            yield from (line for _, line in lines(path))


@dataclass(frozen=True)
class TraceDatabase:
    """`store.url` of several servers."""

    url: str = field(repr=False)

    def traces(self) -> Iterator[bytes]:
        with self._connection() as connection, connection.cursor("traces") as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute("SELECT trace FROM mull.traces ORDER BY number")
            yield from (trace.encode() for (trace,) in cursor)

    def feedback(self) -> Iterator[bytes]:
        with self._connection() as connection:
            yield from (said.encode() for (said,) in connection.execute("SELECT said FROM mull.feedback"))

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            import psycopg
        except ImportError:
            raise TrainingError("a database needs psycopg: pip install 'mull[postgres]'") from None
        try:
            with psycopg.connect(self.url, connect_timeout=10) as connection:
                yield connection
        except psycopg.errors.UndefinedTable:
            raise TrainingError("no server has kept traces in this database") from None
        except psycopg.OperationalError as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            raise TrainingError(f"the database cannot be read: {said}") from None
        except psycopg.ProgrammingError:  # what libpq says of a URL may quote the password
            raise TrainingError("the database's URL cannot be read, or it lacks a right to read") from None


def _order(path: Path) -> tuple[str, int]:
    _, day, number = path.stem.split("-")
    return day, int(number)
