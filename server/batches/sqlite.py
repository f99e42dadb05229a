"""Files and batches in an SQLite database."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from mull.server.batches.objects import OVER, Batch, Outcome, Status, StoredFile, Tokens
from mull.server.callers import Caller

T = TypeVar("T")

VERSION = 1
TABLES = """
CREATE TABLE files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT, filename TEXT NOT NULL,
    purpose TEXT NOT NULL, bytes INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT, endpoint TEXT NOT NULL,
    input_file_id TEXT NOT NULL, completion_window TEXT NOT NULL, created_at INTEGER NOT NULL,
    status TEXT NOT NULL, times TEXT NOT NULL, metadata TEXT NOT NULL, output_seconds INTEGER,
    errors TEXT NOT NULL, model TEXT, output_file_id TEXT, error_file_id TEXT, total INTEGER NOT NULL,
    completed INTEGER NOT NULL, failed INTEGER NOT NULL, input INTEGER NOT NULL, cached INTEGER NOT NULL,
    output INTEGER NOT NULL, reasoning INTEGER NOT NULL
);
CREATE TABLE outcomes (
    batch TEXT NOT NULL, line INTEGER NOT NULL, kind TEXT NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (batch, line)
);
"""
FILE = [field.name for field in fields(StoredFile)]
ADD_FILE = f"INSERT INTO files ({', '.join(FILE)}) VALUES ({', '.join('?' * len(FILE))})"
TOKENS = [field.name for field in fields(Tokens)]
BATCH = [field.name for field in fields(Batch) if field.name != "tokens"]
JSON = ("times", "metadata", "errors")


class SQLiteStore:
    """A `BatchStore` in one file, of one server: see there. All its work is done in one thread.

    Args:
        folder: Where the file is; there is a lock beside it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._lock: int | None = None
        self._db: sqlite3.Connection

    async def open(self) -> None:
        await self._do(self._open)

    async def close(self) -> None:
        await self._do(self._close)
        self._thread.shutdown()

    async def add_file(self, file: StoredFile) -> None:
        await self._write(ADD_FILE, *(getattr(file, name) for name in FILE))

    async def file(self, name: str) -> StoredFile | None:
        found = await self._rows(f"SELECT {_names(FILE)} FROM files WHERE id = ?", name)
        return StoredFile(**found[0]) if found else None

    async def files(
        self, caller: Caller, *, limit: int, after: StoredFile | None, purpose: str | None, newest: bool
    ) -> list[StoredFile]:
        beyond, order = ("<", "DESC") if newest else (">", "ASC")
        rows = await self._rows(
            f"SELECT {_names(FILE)} FROM files WHERE (? OR owner IS ?) AND (? IS NULL OR purpose = ?) AND "
            f"(? IS NULL OR number {beyond} (SELECT number FROM files WHERE id = ?)) "
            f"ORDER BY number {order} LIMIT ?",
            *(caller.admin, caller.owner, purpose, purpose, *2 * [after and after.id], limit),
        )
        return [StoredFile(**row) for row in rows]

    async def remove_file(self, name: str) -> None:
        await self._write("DELETE FROM files WHERE id = ?", name)

    async def file_bytes(self) -> int:
        (row,) = await self._rows("SELECT total(bytes) AS bytes FROM files")
        return int(row["bytes"])

    async def expired_files(self, now: int) -> list[StoredFile]:
        rows = await self._rows(
            f"SELECT {_names(FILE)} FROM files WHERE expires_at <= ? AND id NOT IN "
            f"(SELECT input_file_id FROM batches WHERE status NOT IN {_over()})",
            now,
        )
        return [StoredFile(**row) for row in rows]

    async def add_batch(self, batch: Batch) -> None:
        row = {name: _packed(name, getattr(batch, name)) for name in BATCH} | asdict(batch.tokens)
        await self._write(
            f"INSERT INTO batches ({_names(row)}) VALUES ({', '.join('?' * len(row))})", *row.values()
        )

    async def batch(self, name: str) -> Batch | None:
        return await self._do(lambda: self._batch(name))

    async def batches(self, caller: Caller, *, limit: int, after: Batch | None) -> list[Batch]:
        rows = await self._rows(
            f"SELECT {_names(BATCH + TOKENS)} FROM batches WHERE (? OR owner IS ?) AND "
            "(? IS NULL OR number < (SELECT number FROM batches WHERE id = ?)) ORDER BY number DESC LIMIT ?",
            *(caller.admin, caller.owner, *2 * [after and after.id], limit),
        )
        return [_batch(row) for row in rows]

    async def unfinished(self) -> list[Batch]:
        rows = await self._rows(
            f"SELECT {_names(BATCH + TOKENS)} FROM batches WHERE status NOT IN {_over()} ORDER BY number"
        )
        return [_batch(row) for row in rows]

    async def move(
        self, name: str, to: Status, *, of: Collection[Status], now: int, **changes: Any
    ) -> Batch | None:
        def change() -> Batch | None:
            with self._db:
                found = self._batch(name)
                if found is None or found.status not in of:
                    return None
                self._update(name, status=to, times={**found.times, to: now}, **changes)
                return self._batch(name)

        return await self._do(change)

    async def finish(
        self, name: str, to: Status, *, now: int, output: StoredFile | None, errors: StoredFile | None
    ) -> None:
        def end() -> None:
            with self._db:
                for file in (output, errors):
                    if file is not None:
                        self._insert_file(file)
                found = self._batch(name)
                assert found is not None
                self._update(
                    name,
                    status=to,
                    times={**found.times, to: now},
                    output_file_id=output and output.id,
                    error_file_id=errors and errors.id,
                )
                self._db.execute("DELETE FROM outcomes WHERE batch = ?", [name])

        await self._do(end)

    async def remove_batches(self, before: int) -> None:
        await self._write(f"DELETE FROM batches WHERE created_at < ? AND status IN {_over()}", before)

    async def record(self, name: str, outcome: Outcome) -> None:
        counted = {
            "completed": int(outcome.kind == "completed"),
            "failed": int(outcome.kind == "failed"),
            **asdict(outcome.tokens),
        }

        def keep() -> None:
            with self._db:
                made = self._db.execute(
                    "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?)",
                    [name, outcome.line, outcome.kind, outcome.content],
                )
                if made.rowcount:
                    more = ", ".join(f"{column} = {column} + ?" for column in counted)
                    self._db.execute(f"UPDATE batches SET {more} WHERE id = ?", [*counted.values(), name])

        await self._do(keep)

    async def recorded(self, name: str) -> set[int]:
        return {row["line"] for row in await self._rows("SELECT line FROM outcomes WHERE batch = ?", name)}

    async def outcomes(
        self, name: str, *, completed: bool, after: int, limit: int
    ) -> list[tuple[int, bytes]]:
        rows = await self._rows(
            "SELECT line, content FROM outcomes WHERE batch = ? AND (kind = 'completed') = ? AND line > ? "
            "ORDER BY line LIMIT ?",
            *(name, completed, after, limit),
        )
        return [(row["line"], row["content"]) for row in rows]

    # -- in the thread ------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError(f"another server uses {self._folder}") from None
        path = self._folder / "batches.sqlite"
        path.touch(0o600)
        self._db = sqlite3.connect(path)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        # Enough for a killed server; after a power cut the last lines may be answered again.
        self._db.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise OSError(f"{path} is of version {version} of its tables; this server reads {VERSION}")

    def _close(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    def _batch(self, name: str) -> Batch | None:
        query = f"SELECT {_names(BATCH + TOKENS)} FROM batches WHERE id = ?"
        row = self._db.execute(query, [name]).fetchone()
        return None if row is None else _batch(dict(row))

    def _insert_file(self, file: StoredFile) -> None:
        self._db.execute(ADD_FILE, [getattr(file, name) for name in FILE])

    def _update(self, name: str, **changes: Any) -> None:
        columns = ", ".join(f"{column} = ?" for column in changes)
        values = [_packed(column, value) for column, value in changes.items()]
        self._db.execute(f"UPDATE batches SET {columns} WHERE id = ?", [*values, name])

    # -- from outside -------------------------------------------------------------------------------------

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return await self._do(lambda: [dict(row) for row in self._db.execute(query, values)])

    async def _write(self, query: str, *values: Any) -> None:
        def write() -> None:
            with self._db:
                self._db.execute(query, values)

        await self._do(write)


def _names(columns: Collection[str]) -> str:
    return ", ".join(columns)


def _over() -> str:
    return "(" + ", ".join(f"'{status}'" for status in OVER) + ")"


def _packed(name: str, value: Any) -> Any:
    return json.dumps(value) if name in JSON else value


def _batch(row: dict[str, Any]) -> Batch:
    tokens = Tokens(**{name: row.pop(name) for name in TOKENS})
    return Batch(**row | {name: json.loads(row[name]) for name in JSON}, tokens=tokens)
