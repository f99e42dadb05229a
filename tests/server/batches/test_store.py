"""What is remembered of files and batches survives whatever happens."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from mull.server.batches import temporary
from mull.server.batches.objects import Batch, Outcome, Status, StoredFile, Tokens, Written
from mull.server.batches.part import BatchPart
from mull.server.batches.shared import SharedStore
from mull.server.batches.sql import SQLStore
from mull.server.batches.sqlite import SQLiteStore
from mull.server.batches.temporary import TemporaryFolder
from mull.server.callers import Caller
from mull.server.live import RunningRequests
from mull.server.settings import load
from mull.server.storage.errors import LeaseLost
from mull.server.storage.postgres import shared

DAY = 86_400
ALL = Caller(admin=True)
NEW: tuple[Status, ...] = ("validating",)


Opened = Callable[..., AbstractAsyncContextManager[SQLStore]]


@pytest.fixture(params=["folder", "store"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Open what is kept, also again: `async with opened() as store`."""
    url = None if request.param == "folder" else request.getfixturevalue("database")

    @asynccontextmanager
    async def open_it(lease: float = 60) -> AsyncIterator[SQLStore]:
        database = None if url is None else shared(url)
        store = SQLiteStore(tmp_path, lease=lease) if database is None else SharedStore(database, lease=lease)
        await store.open()
        try:
            yield store
        finally:
            await store.close()
            if database is not None:
                database.close()

    return open_it


def file(**fields: Any) -> StoredFile:
    known = {"owner": None, "filename": "f", "purpose": "batch", "bytes": 7, "created_at": 0, "expires_at": 9}
    return StoredFile(**known | fields)


def written(store: SQLStore, made: StoredFile) -> Written:
    draft = store.draft()
    draft.write_text("content")
    return Written(file=made, draft=draft)


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


async def test_what_was_kept_is_there_after_a_restart(opened: Opened, tmp_path: Path) -> None:
    made, uploaded = batch(metadata={"a": "b"}, owner="ann", output_seconds=7), file(owner="ann")
    async with opened() as store:
        await store.add_batch(made)
        await store.add_file(written(store, uploaded))
        await store.record(made.id, outcome(3))
    async with opened() as store:
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
        async with store.local(uploaded.id) as path:
            assert path.read_text() == "content"
    if (path := tmp_path / "batches.sqlite").exists():
        assert path.stat().st_mode & 0o077 == 0


async def test_a_line_counts_once(opened: Opened) -> None:
    made = batch()
    async with opened() as store:
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


async def test_a_batch_moves_only_from_where_it_is_thought_to_be(opened: Opened) -> None:
    made = batch()
    async with opened() as store:
        await store.add_batch(made)
        moved = await store.move(made.id, "in_progress", of=NEW, now=5, total=7, model="m")
        assert moved is not None
        assert (moved.status, moved.total, moved.model) == ("in_progress", 7, "m")
        assert moved.times == {"expires": DAY, "in_progress": 5}
        assert await store.move(made.id, "failed", of=NEW, now=6) is None
        assert await store.move("nothing", "failed", of=NEW, now=6) is None
        assert await store.batch(made.id) == moved


async def test_the_end_of_a_batch_and_its_files_appear_together(opened: Opened) -> None:
    made, output = batch(), file(purpose="batch_output")
    async with opened() as store:
        await store.add_batch(made)
        await store.record(made.id, outcome(1))
        await store.add_file(written(store, output))
        again = written(store, output)
        with pytest.raises(IntegrityError):  # there is a file of this id
            await store.finish(made.id, "completed", now=9, output=again, errors=None)
        found = await store.batch(made.id)
        assert found is not None
        assert (found.status, found.output_file_id) == ("validating", None)
        assert await store.recorded(made.id) == {1}
        await store.remove_file(output.id)
        await store.finish(made.id, "completed", now=9, output=again, errors=None)
        found = await store.batch(made.id)
        assert found is not None
        assert (found.status, found.output_file_id, found.times["completed"]) == ("completed", output.id, 9)
        assert await store.recorded(made.id) == set()
        assert await store.reading(made.input_file_id) is None
        assert await store.claim() is None


async def test_owners_see_their_own(opened: Opened) -> None:
    async with opened() as store:
        for owner in ("ann", None):
            await store.add_file(written(store, file(owner=owner)))
            await store.add_batch(batch(owner=owner))
        for caller, owners in ((Caller(owner="ann"), ["ann"]), (Caller(), [None]), (ALL, [None, "ann"])):
            files = await store.files(caller, limit=9, after=None, purpose=None, newest=True)
            assert [found.owner for found in files] == owners
            assert [found.owner for found in await store.batches(caller, limit=9, after=None)] == owners


async def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "batches.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    store = SQLiteStore(tmp_path, lease=60)
    with pytest.raises(OSError, match="version 99"):
        await store.open()
    await store.close()


async def test_a_database_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    made = batch()
    store = SQLiteStore(tmp_path, lease=60)
    await store.open()
    await store.add_batch(made)
    await store.close()
    with sqlite3.connect(tmp_path / "batches.sqlite") as db:
        for statement in ("DROP COLUMN holder", "DROP COLUMN lease"):
            db.execute(f"ALTER TABLE batches {statement}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    await store.close()
    store = SQLiteStore(tmp_path, lease=60)
    await store.open()
    claimed = await store.claim()
    assert claimed is not None
    assert claimed.id == made.id
    await store.close()


async def test_what_nobody_works_on_is_claimed_once(opened: Opened) -> None:
    made = [batch(created_at=n) for n in range(12)]
    async with opened() as store:
        for each in made:
            await store.add_batch(each)
        assert await store.claim() is None  # they are being worked on, here
        await store.release()
        claimed = await asyncio.gather(*(store.claim() for _ in range(20)))
        assert sorted(found.created_at for found in claimed if found is not None) == list(range(12))
        assert await store.renew([each.id for each in made]) == {each.id: "validating" for each in made}


async def test_servers_that_claim_at_once_get_different_ones(database: str) -> None:
    databases = [shared(database) for _ in range(4)]
    stores = [SharedStore(each, lease=60) for each in databases]
    made = [batch() for _ in range(20)]
    for each in made:
        await stores[0].add_batch(each)
    await stores[0].release()

    async def claim(store: SharedStore) -> list[str]:
        found = []
        while (each := await store.claim()) is not None:
            found.append(each.id)
        return found

    claimed = await asyncio.gather(*map(claim, stores))
    assert sorted(name for names in claimed for name in names) == sorted(each.id for each in made)
    for store, names in zip(stores, claimed, strict=True):
        assert set(await store.renew([each.id for each in made])) == set(names)
    for opened in databases:
        opened.close()


async def test_what_is_taken_over_is_nobody_elses(database: str) -> None:
    made, databases = batch(), [shared(database), shared(database)]
    slow, quick = (SharedStore(each, lease=lease) for each, lease in zip(databases, (0, 60), strict=True))
    await slow.open()
    await slow.add_batch(made)  # with a lease that is over at once
    await slow.record(made.id, outcome(1))
    claimed = await quick.claim()
    assert claimed is not None
    assert claimed.id == made.id
    assert await slow.renew([made.id]) == {}
    with pytest.raises(LeaseLost):
        await slow.record(made.id, outcome(2))
    await quick.record(made.id, outcome(1, "failed"))
    await quick.record(made.id, outcome(2))
    with pytest.raises(LeaseLost):
        await slow.finish(made.id, "completed", now=1, output=written(slow, file()), errors=None)
    assert await slow.files(ALL, limit=9, after=None, purpose=None, newest=True) == []
    await quick.finish(made.id, "completed", now=2, output=None, errors=None)
    for store in (slow, quick):
        with pytest.raises(LeaseLost):
            await store.record(made.id, outcome(3))
    found = await slow.batch(made.id)
    assert found is not None
    assert (found.status, found.completed, found.failed) == ("completed", 2, 0)
    assert await quick.recorded(made.id) == set()
    await slow.close()
    for each in databases:
        each.close()


def test_what_a_killed_server_left_behind_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(temporary, "mkdtemp", lambda prefix: mkdtemp(prefix=prefix, dir=tmp_path))
    living = TemporaryFolder()
    (tmp_path / "mull-store-killed").mkdir()
    for name in ("lock", "draft-x.part"):
        (tmp_path / "mull-store-killed" / name).touch()
    (tmp_path / "mull-store-other").mkdir()
    own = TemporaryFolder()
    assert own.path.stat().st_mode & 0o077 == 0
    assert set(tmp_path.iterdir()) == {living.path, own.path, tmp_path / "mull-store-other"}
    for folder in (living, own):
        folder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["mull-store-other"]


async def test_what_is_too_old_goes_but_not_what_is_needed(opened: Opened) -> None:
    def ready() -> None:
        pass

    async with opened() as store:
        part, now = BatchPart(load(None), store, RunningRequests(), ready), int(time.time())
        young, old, needed = (
            file(expires_at=now + 50 * DAY),
            file(expires_at=now + DAY),
            file(expires_at=now + DAY),
        )
        for each in (young, old, needed):
            await store.add_file(written(store, each))
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
        with pytest.raises(FileNotFoundError):
            async with store.local(old.id):
                pass
        async with store.local(needed.id) as path:
            assert path.read_text() == "content"
        assert [found.id for found in await store.batches(ALL, limit=9, after=None)] == [
            fresh.id,
            unfinished.id,
        ]
