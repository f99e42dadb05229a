"""Traces of several servers in the store that they share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, delete, insert, select
from sqlalchemy.dialects import postgresql

from mull.server.feedback import Feedback
from mull.server.storage.database import Database
from mull.server.storage.tables import feedback, traces
from mull.server.traces import PERIOD, light, unknown

T = TypeVar("T")

AT_ONCE = 1000
"""Traces deleted in one transaction: many large ones would take longer than one may."""

ANSWER = -1
"""Stands for the node where feedback is on the answer."""


class TraceTables:
    """An `Archive` in a database: see there. Count and age are those of all servers' traces together.

    Args:
        database: Where they are.
        max_count: Traces kept.
        max_age: Seconds that they are kept.
        period: Seconds between looks for what is too old.
        clock: Unix time.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_count: int,
        max_age: float,
        period: float = PERIOD,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._max_count = max_count
        self._max_age = max_age
        self._period = period
        self._clock = clock
        self._next = 0.0

    def open(self) -> None:
        """It need not be there yet."""

    async def call(self, work: Callable[[], T]) -> T:
        return await self._database.call(work)

    def add(self, trace: Mapping[str, Any]) -> None:
        row = {
            "id": trace["id"],
            "created": trace["created"],
            "light": _json(light(trace)),
            "trace": _json(trace),
        }
        self._database.run(lambda db: db.execute(insert(traces).values(row)))

    def get(self, name: str) -> dict[str, Any]:
        return self._one(name, traces.c.trace)

    def row(self, name: str) -> Mapping[str, Any]:
        return self._one(name, traces.c.light)

    def page(self, *, limit: int, after: str | None) -> list[Mapping[str, Any]]:
        query = select(traces.c.light).order_by(traces.c.number.desc()).limit(limit)

        def read(db: Connection) -> list[str]:
            if after is None:
                return list(db.scalars(query))
            last = db.scalar(select(traces.c.number).where(traces.c.id == after))
            if last is None:
                raise unknown(after, "after")
            return list(db.scalars(query.where(traces.c.number < last)))

        return [json.loads(row) for row in self._database.run(read)]

    def expire(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._period
        oldest = self._clock() - self._max_age
        beyond = select(traces.c.number).order_by(traces.c.number.desc()).offset(self._max_count).limit(1)
        last = self._database.run(lambda db: db.scalar(beyond))
        old = traces.c.created < oldest
        if last is not None:
            old |= traces.c.number <= last
        some = select(traces.c.number).where(old).order_by(traces.c.number).limit(AT_ONCE)

        def forget(db: Connection) -> bool:
            numbers = list(db.scalars(some))
            _forget(db, traces.c.number.in_(numbers))
            return len(numbers) == AT_ONCE

        while self._database.run(forget):
            pass
        self._database.run(lambda db: db.execute(delete(feedback).where(feedback.c.created < oldest)))

    def add_feedback(self, given: Feedback) -> bool:
        said = given.model_dump(exclude_none=True)
        key = {"trace": given.trace_id, "node": ANSWER if given.node is None else given.node}
        row = {"created": int(self._clock()), "said": _json(said)}
        # One statement, so that of two servers that are told the same at once one finds it new.
        query = postgresql.insert(feedback).values(**key, **row)
        query = query.on_conflict_do_update(
            index_elements=list(key), set_=row, where=feedback.c.said != row["said"]
        )
        new = self._database.run(lambda db: db.execute(query.returning(feedback.c.node)).first())
        return new is not None

    def feedback(self, name: str) -> list[dict[str, Any]]:
        query = select(feedback.c.said, feedback.c.created).where(feedback.c.trace == name)
        query = query.order_by(feedback.c.created, feedback.c.node)
        rows = self._database.run(lambda db: list(db.execute(query)))
        return [json.loads(row.said) | {"created": row.created} for row in rows]

    def _one(self, name: str, column: ColumnElement[str]) -> dict[str, Any]:
        found = self._database.run(lambda db: db.scalar(select(column).where(traces.c.id == name)))
        if found is None:
            raise unknown(name)
        trace: dict[str, Any] = json.loads(found)
        return trace


def _forget(db: Connection, which: ColumnElement[bool]) -> None:
    """Delete traces and what was said of them."""
    db.execute(delete(feedback).where(feedback.c.trace.in_(select(traces.c.id).where(which))))
    db.execute(delete(traces).where(which))


def _json(value: Any) -> str:
    return to_json(value, inf_nan_mode="null", fallback=str).decode()
