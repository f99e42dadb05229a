"""The routes of /v1/batches."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from mull.errors import InvalidRequest, NotFound, one_of
from mull.server.batches.files import Files, listed
from mull.server.batches.objects import Batch
from mull.server.batches.schemas import ENDPOINTS, BatchRequest
from mull.server.batches.store import BatchStore
from mull.server.batches.work import Work
from mull.server.body import read_as
from mull.server.callers import Caller, caller_of
from mull.server.query import whole_number
from mull.server.reload import Conflict
from mull.server.reply import as_json
from mull.server.settings import MaxLimits

MOST = 100


class Batches:
    """Batches as OpenAI's API has them.

    Args:
        limits: What a request's body may be.
        store: Where they are.
        files: What they read.
        work: Works on them.
    """

    def __init__(self, limits: MaxLimits, store: BatchStore, files: Files, work: Work) -> None:
        self._limits = limits
        self._store = store
        self._files = files
        self._work = work

    async def create(self, request: Request) -> Response:
        """Begin a batch; its input file is checked after the answer."""
        asked = await read_as(BatchRequest, request, self._limits)
        known = _endpoints(request.app)
        if asked.endpoint not in known:
            raise InvalidRequest(
                f"endpoint must be {one_of(known)}, not {asked.endpoint!r:.80}", param="endpoint"
            )
        caller, now = caller_of(request), int(time.time())
        file = await self._files.find(asked.input_file_id, caller, "input_file_id")
        if file.purpose != "batch":
            raise InvalidRequest(
                f"input_file_id must be a file of purpose batch, not {file.purpose}", param="input_file_id"
            )
        batch = Batch(
            # Not the administrator's who makes it: whoever may read the input may read the output.
            owner=file.owner,
            endpoint=asked.endpoint,
            input_file_id=file.id,
            completion_window=asked.completion_window,
            created_at=now,
            times={"expires": now + asked.seconds},
            metadata=asked.metadata,
            output_seconds=asked.output_expires_after.seconds if asked.output_expires_after else None,
        )
        await self._store.add_batch(batch)
        self._work.begin(batch)
        return as_json(batch.to_dict())

    async def all(
        self,
        request: Request,
        limit: Annotated[str, Query()] = "20",
        after: Annotated[str | None, Query()] = None,
    ) -> Response:
        """The caller's batches, newest first."""
        most, caller = whole_number("limit", limit, most=MOST), caller_of(request)
        last = None if after is None else await self._find(after, caller, "after")
        found = await self._store.batches(caller, limit=most + 1, after=last)
        return as_json(listed([batch.to_dict() for batch in found], most))

    async def one(self, name: str, request: Request) -> Response:
        """How far a batch is."""
        return as_json((await self._find(name, caller_of(request))).to_dict())

    async def cancel(self, name: str, request: Request) -> Response:
        """Stop a batch; what was answered by then can be read."""
        batch = await self._find(name, caller_of(request))
        moved = await self._store.move(
            batch.id, "cancelling", of=("validating", "in_progress"), now=int(time.time())
        )
        if moved is not None:
            self._work.cancel(batch.id)
            return as_json(moved.to_dict())
        batch = await self._find(name, caller_of(request))
        if batch.status != "cancelling":
            raise Conflict(
                f"the batch is {batch.status}; only one that is validating or in_progress can be cancelled",
                code="batch_not_running",
            )
        return as_json(batch.to_dict())

    async def _find(self, name: str, caller: Caller, param: str = "batch_id") -> Batch:
        batch = await self._store.batch(name)
        if batch is None or not caller.may_read(batch.owner):
            raise NotFound(f"there is no batch {name!r:.80}", param=param)
        return batch


def _endpoints(app: FastAPI) -> list[str]:
    """Those of `ENDPOINTS` that the server has."""
    paths = {getattr(route, "path", None) for route in app.routes}
    return [endpoint for endpoint in ENDPOINTS if endpoint in paths]
