"""Working batches off: what becomes of them from one status to the next, also after a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp

from mull.server.batches.check import check
from mull.server.batches.folder import Folder, append
from mull.server.batches.lines import Lines
from mull.server.batches.objects import Batch, Status, StoredFile
from mull.server.batches.store import BatchStore

log = logging.getLogger(__name__)

PAGE = 256
"""Outcomes that are copied into a file together."""
PATIENCE = 30.0
"""Seconds until a batch is tried again after the disk or the database failed."""


class Work:
    """Works on all batches that are not over.

    Args:
        store: What is remembered of them.
        folder: The contents of files.
        lines: Works on the requests of one batch.
        keep_files: Seconds that output files are kept.
        most: Requests that one batch may hold.
        most_bytes: Bytes that one request may have.
        started: Returns when the server can answer requests.
        clock: Unix time.
    """

    def __init__(
        self,
        store: BatchStore,
        folder: Folder,
        lines: Lines,
        *,
        keep_files: int,
        most: int,
        most_bytes: int,
        started: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._folder = folder
        self._lines = lines
        self._keep_files = keep_files
        self._most = most
        self._most_bytes = most_bytes
        self._started = started
        self._clock = clock
        self._app: ASGIApp
        self._working: dict[str, asyncio.Task[None]] = {}
        self._solving: dict[str, asyncio.Task[None]] = {}

    async def resume(self, app: ASGIApp) -> None:
        """Go on with what a stopped or killed server left.

        Args:
            app: Where requests are sent.
        """
        self._app = app
        for batch in await self._store.unfinished():
            self.begin(batch)

    def begin(self, batch: Batch) -> None:
        """Work on a batch until it is over; returns at once."""
        task = asyncio.create_task(self._work(batch.id))
        self._working[batch.id] = task
        task.add_done_callback(lambda _: self._working.pop(batch.id, None))

    def cancel(self, name: str) -> None:
        """Stop the requests of a batch that is `cancelling` now."""
        if (solving := self._solving.get(name)) is not None:
            solving.cancel()

    async def close(self) -> None:
        """Stop; what was under way is done again after the next start."""
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, name: str) -> None:
        await self._started()
        while True:
            try:
                await self._advance(name)
                return
            except Exception:
                # What is kept is as it was before: the same again, when the disk has room, say.
                log.exception("batch %s stopped; it goes on in %.0f s", name, PATIENCE)
                await asyncio.sleep(PATIENCE)

    async def _advance(self, name: str) -> None:
        """From wherever a batch is to its end."""
        batch = await self._store.batch(name)
        if batch is not None and batch.status == "validating":
            batch = await self._validate(batch)
        if batch is not None and batch.status == "in_progress":
            batch = await self._solve(batch)
        if batch is not None and batch.status in ("in_progress", "finalizing", "cancelling"):
            await self._finish(batch)

    async def _validate(self, batch: Batch) -> Batch | None:
        try:
            found = await asyncio.to_thread(
                check,
                self._folder[batch.input_file_id],
                endpoint=batch.endpoint,
                most=self._most,
                most_bytes=self._most_bytes,
            )
        except FileNotFoundError:
            problem = {
                "code": "file_not_found",
                "message": "the input file was deleted",
                "param": "input_file_id",
                "line": None,
            }
            return await self._move(batch, "failed", errors=[problem])
        if found.errors:
            return await self._move(batch, "failed", errors=list(found.errors))
        return await self._move(batch, "in_progress", total=found.total, model=found.model)

    async def _solve(self, batch: Batch) -> Batch | None:
        left = batch.times["expires"] - self._clock()
        solving = asyncio.create_task(asyncio.wait_for(self._lines.send(batch, self._app), left))
        self._solving[batch.id] = solving
        try:
            # It may have been cancelled before there was anything to cancel.
            if (now := await self._store.batch(batch.id)) is None or now.status != "in_progress":
                solving.cancel()
            await asyncio.wait({solving})
        finally:
            del self._solving[batch.id]
            solving.cancel()
            await asyncio.gather(solving, return_exceptions=True)
        if solving.cancelled():
            return await self._store.batch(batch.id)
        if isinstance(error := solving.exception(), TimeoutError):
            await self._lines.expire(batch)
            return await self._store.batch(batch.id)
        if error is not None:
            raise error
        return await self._move(batch, "finalizing")

    async def _finish(self, batch: Batch) -> None:
        ends: dict[Status, Status] = {"finalizing": "completed", "cancelling": "cancelled"}
        output = await self._file(batch, completed=True)
        errors = await self._file(batch, completed=False)
        end = ends.get(batch.status, "expired")
        await self._store.finish(batch.id, end, now=int(self._clock()), output=output, errors=errors)
        log.info("batch %s is %s", batch.id, end)

    async def _file(self, batch: Batch, *, completed: bool) -> StoredFile | None:
        """The outcomes of one kind as a file, in the order of the input; None where there are none."""
        draft, last = self._folder.draft(), 0
        while page := await self._store.outcomes(batch.id, completed=completed, after=last, limit=PAGE):
            await asyncio.to_thread(append, draft, [content for _, content in page])
            last = page[-1][0]
        if not last:
            return None
        now = int(self._clock())
        file = StoredFile(
            owner=batch.owner,
            filename=f"{batch.id}_{'output' if completed else 'error'}.jsonl",
            purpose="batch_output",
            bytes=(await asyncio.to_thread(draft.stat)).st_size,
            created_at=now,
            expires_at=now + min(self._keep_files, batch.output_seconds or self._keep_files),
        )
        await asyncio.to_thread(self._folder.keep, draft, file.id)
        return file

    async def _move(self, batch: Batch, to: Status, **changes: Any) -> Batch | None:
        """The batch in its next status, or in the one that it was put in meanwhile."""
        moved = await self._store.move(batch.id, to, of=(batch.status,), now=int(self._clock()), **changes)
        return moved or await self._store.batch(batch.id)
