"""What is remembered of files and batches survives whatever happens."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from mull.server.batches.objects import Batch, Outcome, Status, StoredFile, Tokens
from mull.server.batches.part import BatchPart
from mull.server.batches.sqlite import SQLiteStore
from mull.server.callers import Caller
from mull.server.live import RunningRequests
from mull.server.settings import load

DAY = 86_400
ALL = Caller(admin=True)
NEW: tuple[Status, ...] = ("validating",)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(folder)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def file(**fields: Any) -> StoredFile:
    known = {"owner": None, "filename": "f", "purpose": "batch", "bytes": 1, "created_at": 0, "expires_at": 9}
    return StoredFile(**known | fields)


def batch(**fields: Any) -> Batch:
    known: dict[str, Any] = {
        "owner": None,
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-x",
        "completion_window": "24h",
        "created_at": 0,
        "times": {"expires": DAY},
    }
    return Batch(**known | fields)


def outcome(number: int, kind: Any = "completed") -> Outcome:
    return Outcome(line=number, kind=kind, content=b"%d" % number, tokens=Tokens(input=2, output=1))


async def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    made, uploaded = batch(metadata={"a": "b"}, owner="ann", output_seconds=7), file(owner="ann")
    async with opened(tmp_path) as store:
        await store.add_batch(made)
        await store.add_file(uploaded)
        await store.record(made.id, outcome(3))
    async with opened(tmp_path) as store:
        found = await store.batch(made.id)
        assert found is not None
        assert (found.completed, found.tokens) == (1, Tokens(input=2, output=1))
        assert found.to_dict() | {"request_counts": 0, "usage": 0} == made.to_dict() | {
            "request_counts": 0,
            "usage": 0,
        }
        assert (found.owner, found.output_seconds) == ("ann", 7)
        assert await store.file(uploaded.id) == uploaded
        assert await store.recorded(made.id) == {3}
    assert (tmp_path / "batches.sqlite").stat().st_mode & 0o077 == 0


async def test_a_line_counts_once(tmp_path: Path) -> None:
    made = batch()
    async with opened(tmp_path) as store:
        await store.add_batch(made)
        for kind in ("completed", "failed", "completed"):
            await store.record(made.id, outcome(1, kind))
        await store.record(made.id, outcome(2, "failed"))
        await store.record(made.id, outcome(3, "expired"))
        found = await store.batch(made.id)
        assert found is not None
        assert (found.completed, found.failed) == (1, 1)
        assert await store.outcomes(made.id, completed=True, after=0, limit=9) == [(1, b"1")]
        assert await store.outcomes(made.id, completed=False, after=0, limit=9) == [(2, b"2"), (3, b"3")]
        assert await store.outcomes(made.id, completed=False, after=2, limit=9) == [(3, b"3")]


async def test_a_batch_moves_only_from_where_it_is_thought_to_be(tmp_path: Path) -> None:
    made = batch()
    async with opened(tmp_path) as store:
        await store.add_batch(made)
        moved = await store.move(made.id, "in_progress", of=NEW, now=5, total=7, model="m")
        assert moved is not None
        assert (moved.status, moved.total, moved.model) == ("in_progress", 7, "m")
        assert moved.times == {"expires": DAY, "in_progress": 5}
        assert await store.move(made.id, "failed", of=NEW, now=6) is None
        assert await store.move("nothing", "failed", of=NEW, now=6) is None
        assert await store.batch(made.id) == moved


async def test_the_end_of_a_batch_and_its_files_appear_together(tmp_path: Path) -> None:
    made, output = batch(), file(purpose="batch_output")
    async with opened(tmp_path) as store:
        await store.add_batch(made)
        await store.record(made.id, outcome(1))
        await store.add_file(output)
        with pytest.raises(sqlite3.IntegrityError):  # there is a file of this id
            await store.finish(made.id, "completed", now=9, output=output, errors=None)
        found = await store.batch(made.id)
        assert found is not None
        assert (found.status, found.output_file_id) == ("validating", None)
        assert await store.recorded(made.id) == {1}
        await store.remove_file(output.id)
        await store.finish(made.id, "completed", now=9, output=output, errors=None)
        found = await store.batch(made.id)
        assert found is not None
        assert (found.status, found.output_file_id, found.times["completed"]) == ("completed", output.id, 9)
        assert await store.recorded(made.id) == set()
        assert await store.unfinished() == []


async def test_owners_see_their_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for owner in ("ann", None):
            await store.add_file(file(owner=owner))
            await store.add_batch(batch(owner=owner))
        for caller, owners in ((Caller(owner="ann"), ["ann"]), (Caller(), [None]), (ALL, [None, "ann"])):
            files = await store.files(caller, limit=9, after=None, purpose=None, newest=True)
            assert [found.owner for found in files] == owners
            assert [found.owner for found in await store.batches(caller, limit=9, after=None)] == owners


async def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "batches.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    store = SQLiteStore(tmp_path)
    with pytest.raises(OSError, match="version 99"):
        await store.open()
    await store.close()


async def test_what_is_too_old_goes_but_not_what_is_needed(tmp_path: Path) -> None:
    def ready() -> None:
        pass

    part = BatchPart(load(None, batches={"dir": tmp_path}), RunningRequests(), ready)
    await part.open(FastAPI())
    try:
        store, now = part._store, int(time.time())
        young, old, needed = (
            file(expires_at=now + 50 * DAY),
            file(expires_at=now + DAY),
            file(expires_at=now + DAY),
        )
        for each in (young, old, needed):
            (tmp_path / "files" / each.id).touch()
            await store.add_file(each)
        unfinished, finished, fresh = (
            batch(input_file_id=needed.id),
            batch(status="completed", created_at=now),
            batch(status="completed", created_at=now + 40 * DAY),
        )
        for made in (unfinished, finished, fresh):
            await store.add_batch(made)
        await part.tidy(now + 40 * DAY)
        files = await store.files(ALL, limit=9, after=None, purpose=None, newest=False)
        assert [found.id for found in files] == [young.id, needed.id]
        assert {path.name for path in (tmp_path / "files").iterdir()} == {young.id, needed.id}
        assert [found.id for found in await store.batches(ALL, limit=9, after=None)] == [
            fresh.id,
            unfinished.id,
        ]
    finally:
        await part.close()
