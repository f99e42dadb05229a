"""Files and batches as a part of a server: made, opened, kept tidy, closed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI

from mull.errors import InvalidRequest, Unavailable
from mull.server.batches.files import Files
from mull.server.batches.lines import Lines
from mull.server.batches.routes import Batches
from mull.server.batches.schemas import BatchRequest, Upload
from mull.server.batches.store import BatchStore
from mull.server.batches.work import Work
from mull.server.live import RunningRequests
from mull.server.openapi import takes
from mull.server.settings import Settings
from mull.server.storage.errors import StoreUnavailable

log = logging.getLogger(__name__)

PERIOD = 600.0
"""Seconds between looks for what is too old."""
ROOM = 4096
"""Bytes of a line of a batch beside the body of its request."""
STARTING = 0.2
"""Seconds between looks whether the server has started."""
MOST_BEAT = 2.0
"""Seconds between looks at what other servers want, at most."""


class BatchPart:
    """Files and batches, where there is a place for them.

    Args:
        settings: The configuration.
        store: That place.
        live: Knows how many requests somebody waits for.
        check_started: Raises `Unavailable` until the server can answer requests.
    """

    def __init__(
        self,
        settings: Settings,
        store: BatchStore,
        live: RunningRequests,
        check_started: Callable[[], None],
    ) -> None:
        own = settings.batches
        self._keep = int(own.max_age_days * 86_400)
        self._store = store
        most_bytes = settings.limits.request_bytes + ROOM
        lines = Lines(store, live, concurrency=own.concurrency, pause_at=own.pause_at, most_bytes=most_bytes)
        self._work = Work(
            store,
            lines,
            keep_files=self._keep,
            most=own.max_requests,
            most_bytes=most_bytes,
            beat=min(MOST_BEAT, settings.store.lease / 3),
            started=partial(_started, check_started),
        )
        self._files = Files(own, store)
        self._batches = Batches(settings.limits, store, self._files, self._work)
        self._tidying: asyncio.Task[None] | None = None

    async def open(self, app: FastAPI) -> None:
        """Read what there is, and go on with the batches that are not over.

        Args:
            app: Where their requests are sent.

        Raises:
            OSError: the folder cannot be used, or another server uses it.
        """
        await self._store.open()
        self._work.open(app)
        self._tidying = asyncio.create_task(self._tidy())

    async def pause(self) -> None:
        """Begin nothing more; what is under way stops and is done again after the next start."""
        await self._work.close()

    async def close(self) -> None:
        """Stop; what was under way is done again after the next start."""
        if self._tidying is not None:
            self._tidying.cancel()
        await self._work.close()
        await self._store.close()

    def routes(self) -> APIRouter:
        """The routes, without /v1."""
        files, batches, router = self._files, self._batches, APIRouter()
        router.post("/files", openapi_extra=_form())(files.create)
        router.get("/files")(files.all)
        router.get("/files/{name}")(files.one)
        router.delete("/files/{name}")(files.delete)
        router.get("/files/{name}/content")(files.content)
        router.post("/batches", openapi_extra=takes(BatchRequest))(batches.create)
        router.get("/batches")(batches.all)
        router.get("/batches/{name}")(batches.one)
        router.post("/batches/{name}/cancel")(batches.cancel)
        return router

    async def tidy(self, now: int) -> None:
        """Delete what is too old."""
        for file in await self._store.expired_files(now):
            await self._store.remove_file(file.id)
        await self._store.remove_batches(now - self._keep)

    async def _tidy(self) -> None:
        while True:
            try:
                await self.tidy(int(time.time()))
            except StoreUnavailable:
                pass  # the log has it
            except Exception:
                log.exception("old files and batches cannot be deleted")
            await asyncio.sleep(PERIOD)


async def _started(check: Callable[[], None]) -> None:
    """Wait until the server can answer requests; one that never can ends."""
    while True:
        try:
            return check()
        except Unavailable:
            await asyncio.sleep(STARTING)


def unconfigured() -> APIRouter:
    """The routes of a server without files and batches: they say what is missing."""
    router = APIRouter()
    for path in ("/files", "/files/{rest:path}", "/batches", "/batches/{rest:path}"):
        router.add_api_route(path, _missing, methods=["GET", "POST", "DELETE"], include_in_schema=False)
    return router


async def _missing() -> None:
    raise InvalidRequest(
        "files and batches: there is no place for them; set batches.dir in the configuration "
        "(MULL_BATCHES__DIR), or store.url",
        code="batches_not_configured",
    )


def _form() -> dict[str, Any]:
    """What an OpenAPI document says of a form with a file."""
    (kind,) = takes(Upload)["requestBody"]["content"].values()
    schema = kind["schema"]
    properties = {"file": {"type": "string", "format": "binary"}, **schema["properties"]}
    form = {**schema, "properties": properties, "required": ["file", *schema["required"]]}
    return {"requestBody": {"content": {"multipart/form-data": {"schema": form}}, "required": True}}
