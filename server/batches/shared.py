"""Files and batches of several servers: all of it in one database, contents too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, select

from mull.server.batches.folder import Folder
from mull.server.batches.objects import Written
from mull.server.batches.sql import SQLStore
from mull.server.batches.temporary import TemporaryFolder
from mull.server.storage.database import Database
from mull.server.storage.tables import contents

PART = 1 << 20
"""Bytes of a content that are sent together."""


class SharedStore(SQLStore):
    """A `BatchStore` of several servers: see there. What is being read or written is in a temporary folder.

    Args:
        database: Where everything is.
        lease: Seconds after which the batches of a server that has died are taken over.
    """

    def __init__(self, database: Database, *, lease: float) -> None:
        super().__init__(database, lease=lease)
        self._temporary: TemporaryFolder | None = None

    async def open(self) -> None:
        self._temporary = await asyncio.to_thread(TemporaryFolder)

    async def close(self) -> None:
        if self._temporary is not None:
            await asyncio.to_thread(self._temporary.close)

    def draft(self) -> Path:
        assert self._temporary is not None
        return Folder(self._temporary.path).draft()

    @asynccontextmanager
    async def local(self, name: str) -> AsyncIterator[Path]:
        path, part, size = self.draft(), 0, 0
        try:
            while (data := await self._part(name, part)) is not None:
                await asyncio.to_thread(_append, path, data)
                part, size = part + 1, size + len(data)
            # It may have been deleted between two parts.
            known = await self.file(name)
            if known is None or not part or size != known.bytes:
                raise FileNotFoundError(name)
            yield path
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _part(self, name: str, part: int) -> bytes | None:
        query = select(contents.c.data).where(contents.c.file == name, contents.c.part == part)
        return await self._database.do(lambda db: db.scalar(query))

    def _keep(self, connection: Connection, written: Written) -> None:
        super()._keep(connection, written)
        with written.draft.open("rb") as draft:
            for part, data in enumerate(iter(lambda: draft.read(PART), b"")):
                row = {"file": written.file.id, "part": part, "data": data}
                connection.execute(contents.insert().values(row))


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
