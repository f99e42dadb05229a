"""Files and batches in a database, whichever it is."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Row,
    delete,
    func,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from mull.server.batches.objects import OVER, Batch, Outcome, Status, StoredFile, Tokens, Written, new_id
from mull.server.callers import Caller
from mull.server.storage.database import Database
from mull.server.storage.errors import LeaseLost
from mull.server.storage.tables import batches, files, outcomes

FILE = [files.c[field.name] for field in fields(StoredFile)]
TOKENS = [field.name for field in fields(Tokens)]
BATCH = [field.name for field in fields(Batch) if field.name != "tokens"]
COLUMNS = [batches.c[name] for name in (*BATCH, *TOKENS)]
JSON = ("times", "metadata", "errors")
MANY = 600.0
"""Seconds that the content of files may take."""


class SQLStore:
    """The part of a `BatchStore` that is the same in all databases: see there.

    Args:
        database: Where everything is but the contents of files.
        lease: Seconds for which a batch is claimed.
    """

    def __init__(self, database: Database, *, lease: float) -> None:
        self._database = database
        self._lease = lease
        self._server = new_id("server-")

    # -- what each database does its own way ----------------------------------------------------------------

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def draft(self) -> Path:
        raise NotImplementedError

    def local(self, name: str) -> AbstractAsyncContextManager[Path]:
        raise NotImplementedError

    def _keep(self, connection: Connection, written: Written) -> None:
        """Add a file and its content."""
        connection.execute(files.insert().values(asdict(written.file)))

    # -- files --------------------------------------------------------------------------------------------

    async def add_file(self, written: Written) -> None:
        await self._database.do(lambda db: self._keep(db, written), patience=MANY)

    async def file(self, name: str) -> StoredFile | None:
        query = select(*FILE).where(files.c.id == name)
        row = await self._database.do(lambda db: db.execute(query).one_or_none())
        return None if row is None else _file(row)

    async def files(
        self, caller: Caller, *, limit: int, after: StoredFile | None, purpose: str | None, newest: bool
    ) -> list[StoredFile]:
        number = files.c.number
        query = select(*FILE).order_by(number.desc() if newest else number).limit(limit)
        if not caller.admin:
            query = query.where(files.c.owner.is_not_distinct_from(caller.owner))
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        if after is not None:
            last = select(number).where(files.c.id == after.id).scalar_subquery()
            query = query.where(number < last if newest else number > last)
        return await self._database.do(lambda db: [_file(row) for row in db.execute(query)])

    async def remove_file(self, name: str) -> None:
        await self._database.do(lambda db: db.execute(delete(files).where(files.c.id == name)))

    async def file_bytes(self) -> int:
        query = select(func.coalesce(func.sum(files.c.bytes), 0))
        return int(await self._database.do(lambda db: db.execute(query).scalar_one()))

    async def expired_files(self, now: int) -> list[StoredFile]:
        needed = select(batches.c.input_file_id).where(_unfinished())
        query = select(*FILE).where(files.c.expires_at <= now, files.c.id.not_in(needed))
        return await self._database.do(lambda db: [_file(row) for row in db.execute(query)])

    # -- batches ------------------------------------------------------------------------------------------

    async def add_batch(self, batch: Batch) -> None:
        row = {name: _packed(name, getattr(batch, name)) for name in BATCH} | asdict(batch.tokens)
        query = batches.insert().values(**row, **self._held())
        await self._database.do(lambda db: db.execute(query))

    async def batch(self, name: str) -> Batch | None:
        return await self._database.do(lambda db: _one(db, batches.c.id == name))

    async def batches(self, caller: Caller, *, limit: int, after: Batch | None) -> list[Batch]:
        query = select(*COLUMNS).order_by(batches.c.number.desc()).limit(limit)
        if not caller.admin:
            query = query.where(batches.c.owner.is_not_distinct_from(caller.owner))
        if after is not None:
            last = select(batches.c.number).where(batches.c.id == after.id).scalar_subquery()
            query = query.where(batches.c.number < last)
        return await self._database.do(lambda db: [_batch(row) for row in db.execute(query)])

    async def reading(self, file: str) -> Batch | None:
        reads = _unfinished() & (batches.c.input_file_id == file)
        return await self._database.do(lambda db: _one(db, reads))

    async def move(
        self, name: str, to: Status, *, of: Collection[Status], now: int, **changes: Any
    ) -> Batch | None:
        def change(db: Connection) -> Batch | None:
            found = _one(db, batches.c.id == name, lock=True)
            if found is None or found.status not in of:
                return None
            _update(db, name, status=to, times={**found.times, to: now}, **changes)
            return _one(db, batches.c.id == name)

        return await self._database.do(change)

    async def finish(
        self, name: str, to: Status, *, now: int, output: Written | None, errors: Written | None
    ) -> None:
        def end(db: Connection) -> None:
            # Files first: while the batch is locked, the leases of this server's others cannot be renewed.
            for written in (output, errors):
                if written is not None:
                    self._keep(db, written)
            found = _one(db, self._mine(name), lock=True)
            if found is None:
                raise LeaseLost(name)
            _update(
                db,
                name,
                status=to,
                times={**found.times, to: now},
                output_file_id=output and output.file.id,
                error_file_id=errors and errors.file.id,
                holder=None,
                lease=None,
            )
            db.execute(delete(outcomes).where(outcomes.c.batch == name))

        await self._database.do(end, patience=MANY)

    async def remove_batches(self, before: int) -> None:
        query = delete(batches).where(batches.c.created_at < before, ~_unfinished())
        await self._database.do(lambda db: db.execute(query))

    # -- whose turn it is to work on one ------------------------------------------------------------------

    async def claim(self) -> Batch | None:
        # Of servers that ask at once each gets another one, and none waits.
        first = (
            select(batches.c.id)
            .where(_unfinished(), or_(batches.c.lease.is_(None), batches.c.lease < self._now()))
            .order_by(batches.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        query = update(batches).where(batches.c.id == first).values(self._held()).returning(*COLUMNS)
        row = await self._database.do(lambda db: db.execute(query).one_or_none())
        return None if row is None else _batch(row)

    async def renew(self, names: Collection[str]) -> Mapping[str, Status]:
        mine = batches.c.id.in_(names) & (batches.c.holder == self._server) & _unfinished()
        query = update(batches).where(mine).values(self._held()).returning(batches.c.id, batches.c.status)
        return await self._database.do(lambda db: {row.id: row.status for row in db.execute(query)})

    async def release(self) -> None:
        query = update(batches).where(batches.c.holder == self._server).values(holder=None, lease=None)
        await self._database.do(lambda db: db.execute(query))

    # -- lines --------------------------------------------------------------------------------------------

    async def record(self, name: str, outcome: Outcome) -> None:
        counted = {
            "completed": int(outcome.kind == "completed"),
            "failed": int(outcome.kind == "failed"),
            **asdict(outcome.tokens),
        }
        insert = postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        line = insert(outcomes).values(
            batch=name, line=outcome.line, kind=outcome.kind, content=outcome.content
        )
        known = batches.c
        more = {column: known[column] + number for column, number in counted.items()}

        def keep(db: Connection) -> None:
            # Locked, so that it stays this server's until both are done.
            if _one(db, self._mine(name), lock=True) is None:
                raise LeaseLost(name)
            if db.execute(line.on_conflict_do_nothing().returning(outcomes.c.line)).first() is not None:
                db.execute(update(batches).where(known.id == name).values(more))

        await self._database.do(keep)

    async def recorded(self, name: str) -> set[int]:
        query = select(outcomes.c.line).where(outcomes.c.batch == name)
        return await self._database.do(lambda db: set(db.scalars(query)))

    async def outcomes(
        self, name: str, *, completed: bool, after: int, limit: int
    ) -> list[tuple[int, bytes]]:
        kind = outcomes.c.kind
        query = (
            select(outcomes.c.line, outcomes.c.content)
            .where(
                outcomes.c.batch == name,
                kind == "completed" if completed else kind != "completed",
                outcomes.c.line > after,
            )
            .order_by(outcomes.c.line)
            .limit(limit)
        )
        return await self._database.do(lambda db: [(row.line, row.content) for row in db.execute(query)])

    # -- parts of the above -------------------------------------------------------------------------------

    def _now(self) -> ColumnElement[float]:
        """Unix time; of several servers on the clock of the database."""
        if self._database.dialect == "postgresql":
            return type_coerce(func.extract("epoch", func.clock_timestamp()), Float(53))
        return literal(time.time())

    def _held(self) -> dict[str, Any]:
        return {"holder": self._server, "lease": self._now() + self._lease}

    def _mine(self, name: str) -> ColumnElement[bool]:
        return (batches.c.id == name) & (batches.c.holder == self._server) & _unfinished()


def _unfinished() -> ColumnElement[bool]:
    return batches.c.status.not_in(OVER)


def _one(db: Connection, where: ColumnElement[bool], *, lock: bool = False) -> Batch | None:
    query = select(*COLUMNS).where(where).limit(1)
    row = db.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _batch(row)


def _update(db: Connection, name: str, **changes: Any) -> None:
    packed = {column: _packed(column, value) for column, value in changes.items()}
    db.execute(update(batches).where(batches.c.id == name).values(packed))


def _packed(name: str, value: Any) -> Any:
    return json.dumps(value) if name in JSON else value


def _file(row: Row[Any]) -> StoredFile:
    return StoredFile(**row._mapping)


def _batch(row: Row[Any]) -> Batch:
    found = dict(row._mapping)
    tokens = Tokens(**{name: found.pop(name) for name in TOKENS})
    return Batch(**found | {name: json.loads(found[name]) for name in JSON}, tokens=tokens)
