"""Files and batches of one server: an SQLite database, and the contents of files beside it."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, select, text, update

from mull.server.batches.folder import Folder
from mull.server.batches.objects import Status, Written
from mull.server.batches.sql import SQLStore
from mull.server.storage.database import Database
from mull.server.storage.tables import BATCHES, batches, files

VERSION = 2
MORE = {1: ("ALTER TABLE batches ADD COLUMN holder TEXT", "ALTER TABLE batches ADD COLUMN lease FLOAT")}
"""What takes the tables of an earlier version to the next one."""


class SQLiteStore(SQLStore):
    """A `BatchStore` in a folder of one server: see there. All its work is done in one thread.

    Args:
        folder: Where everything is; there is a lock in it.
        lease: Seconds for which a batch is claimed.
    """

    def __init__(self, folder: Path, *, lease: float) -> None:
        self._path = folder
        self._folder = Folder(folder / "files")
        self._lock: int | None = None
        engine = create_engine(f"sqlite:///{folder / 'batches.sqlite'}", hide_parameters=True)
        event.listen(engine, "connect", _connected)
        super().__init__(Database(engine, threads=1), lease=lease)

    async def open(self) -> None:
        await self._database.call(self._open)
        known = await self._database.do(lambda db: set(db.scalars(select(files.c.id))))
        await asyncio.to_thread(self._folder.open, known)

    async def close(self) -> None:
        await asyncio.to_thread(self._database.close)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def draft(self) -> Path:
        return self._folder.draft()

    async def add_file(self, written: Written) -> None:
        await asyncio.to_thread(self._folder.seal, written.draft)
        await super().add_file(written)

    async def finish(
        self, name: str, to: Status, *, now: int, output: Written | None, errors: Written | None
    ) -> None:
        for written in (output, errors):
            if written is not None:
                await asyncio.to_thread(self._folder.seal, written.draft)
        await super().finish(name, to, now=now, output=output, errors=errors)

    async def remove_file(self, name: str) -> None:
        await super().remove_file(name)
        await asyncio.to_thread(self._folder.remove, name)

    @asynccontextmanager
    async def local(self, name: str) -> AsyncIterator[Path]:
        path = self._folder[name]
        if not await asyncio.to_thread(path.exists):
            raise FileNotFoundError(name)
        yield path

    def _keep(self, connection: Connection, written: Written) -> None:
        super()._keep(connection, written)
        self._folder.keep(written.draft, written.file.id)

    def _open(self) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError(f"another server uses {self._path}") from None
        path = self._path / "batches.sqlite"
        path.touch(0o600)
        found = self._database.run(_tables)
        if found != VERSION:
            raise OSError(f"{path} is of version {found} of its tables; this server reads {VERSION}")


def _connected(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # Enough for a killed server; after a power cut the last lines may be answered again.
    connection.execute("PRAGMA synchronous = NORMAL")


def _tables(db: Connection) -> int:
    """Make the tables, or bring them up to date, and forget who worked on what; returns their version."""
    found = int(db.execute(text("PRAGMA user_version")).scalar_one())
    if found == 0:
        BATCHES.create_all(db)
    while found in MORE:
        for statement in MORE[found]:
            db.execute(text(statement))
        found += 1
    if found in (0, VERSION):
        db.execute(text(f"PRAGMA user_version = {VERSION}"))
        # The folder is this server's alone: whoever had claimed a batch is gone.
        db.execute(update(batches).values(holder=None, lease=None))
        return VERSION
    return found
