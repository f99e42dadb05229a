"""Working batches off: what becomes of them from one status to the next, also when a server ends."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from mull.server.batches.check import check
from mull.server.batches.folder import append
from mull.server.batches.lines import Lines
from mull.server.batches.objects import Batch, Status, StoredFile, Written
from mull.server.batches.store import BatchStore
from mull.server.errors import cause_of
from mull.server.storage.errors import LeaseLost, StoreUnavailable

log = logging.getLogger(__name__)

PAGE = 256
"""Outcomes that are copied into a file together."""
PATIENCE = 30.0
"""Seconds until a batch is tried again after something failed."""


class Work:
    """Works on batches that are not over: those that were begun here, and those that no server works on.

    Args:
        store: Where they are.
        lines: Works on the requests of one batch.
        keep_files: Seconds that output files are kept.
        most: Requests that one batch may hold.
        most_bytes: Bytes that one request may have.
        beat: Seconds between looks for what there is to do, and for what others want of the batches here.
        started: Returns when the server can answer requests.
        clock: Unix time.
    """

    def __init__(
        self,
        store: BatchStore,
        lines: Lines,
        *,
        keep_files: int,
        most: int,
        most_bytes: int,
        beat: float,
        started: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._lines = lines
        self._keep_files = keep_files
        self._most = most
        self._most_bytes = most_bytes
        self._beat = beat
        self._started = started
        self._clock = clock
        self._app: ASGIApp
        self._working: dict[str, asyncio.Task[None]] = {}
        self._solving: dict[str, asyncio.Task[None]] = {}
        self._beating: asyncio.Task[None] | None = None

    def open(self, app: ASGIApp) -> None:
        """Go on with what stopped or killed servers left, now and whenever there is something.

        Args:
            app: Where requests are sent.
        """
        self._app = app
        self._beating = asyncio.create_task(self._look())

    def begin(self, batch: Batch) -> None:
        """Work on a batch that this server has claimed until it is over; returns at once."""
        if batch.id in self._working:
            return
        task = asyncio.create_task(self._work(batch.id))
        self._working[batch.id] = task
        task.add_done_callback(lambda _: self._working.pop(batch.id, None))

    def cancel(self, name: str) -> None:
        """Stop the requests of a batch that is `cancelling` now, if they are sent from here."""
        if (solving := self._solving.get(name)) is not None:
            solving.cancel()

    async def close(self) -> None:
        """Stop; what was under way is done again by who claims it next."""
        tasks = [*self._working.values(), *([] if self._beating is None else [self._beating])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            self._beating = None
            with suppress(StoreUnavailable):
                await self._store.release()

    async def _look(self) -> None:
        await self._started()
        while True:
            wait = self._beat
            try:
                await self._renew()
                if (batch := await self._store.claim()) is not None:
                    log.info("batch %s goes on here", batch.id)
                    self.begin(batch)
                    wait *= random.random()  # so that several servers get some each
            except StoreUnavailable:
                pass  # the log has it
            except Exception:
                log.exception("cannot look for batches")
            await asyncio.sleep(wait)

    async def _renew(self) -> None:
        working = dict(self._working)
        held = await self._store.renew(working) if working else {}
        for name, task in working.items():
            if name not in held:
                task.cancel()
            elif held[name] == "cancelling":
                self.cancel(name)

    async def _work(self, name: str) -> None:
        await self._started()
        while True:
            wait = PATIENCE
            try:
                if await self._store.renew([name]):
                    await self._advance(name)
                return
            except Exception as error:
                # What is kept is as it was before: the same again, when the disk has room, say.
                match cause_of(error):
                    case LeaseLost():
                        log.info("batch %s goes on elsewhere", name)
                        return
                    case StoreUnavailable():
                        wait = self._beat
                    case _:
                        log.exception("batch %s stopped; it goes on in %.0f s", name, wait)
            await asyncio.sleep(wait)

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
            async with self._store.local(batch.input_file_id) as path:
                found = await asyncio.to_thread(
                    check, path, endpoint=batch.endpoint, most=self._most, most_bytes=self._most_bytes
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
        async with self._store.local(batch.input_file_id) as path:
            return await self._send(batch, path)

    async def _send(self, batch: Batch, path: Path) -> Batch | None:
        left = batch.times["expires"] - self._clock()
        solving = asyncio.create_task(asyncio.wait_for(self._lines.send(batch, path, self._app), left))
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
            await self._lines.expire(batch, path)
            return await self._store.batch(batch.id)
        if error is not None:
            raise error
        return await self._move(batch, "finalizing")

    async def _finish(self, batch: Batch) -> None:
        ends: dict[Status, Status] = {"finalizing": "completed", "cancelling": "cancelled"}
        end = ends.get(batch.status, "expired")
        output, errors = self._store.draft(), self._store.draft()
        try:
            await self._store.finish(
                batch.id,
                end,
                now=int(self._clock()),
                output=await self._write(batch, output, completed=True),
                errors=await self._write(batch, errors, completed=False),
            )
        finally:
            for draft in (output, errors):
                await asyncio.to_thread(draft.unlink, missing_ok=True)
        log.info("batch %s is %s", batch.id, end)

    async def _write(self, batch: Batch, draft: Path, *, completed: bool) -> Written | None:
        """The outcomes of one kind as a file, in the order of the input; None where there are none."""
        last = 0
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
        return Written(file=file, draft=draft)

    async def _move(self, batch: Batch, to: Status, **changes: Any) -> Batch | None:
        """The batch in its next status, or in the one that it was put in meanwhile."""
        moved = await self._store.move(batch.id, to, of=(batch.status,), now=int(self._clock()), **changes)
        return moved or await self._store.batch(batch.id)
