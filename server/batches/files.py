"""The routes of /v1/files."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import AsyncExitStack
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from mull.errors import InvalidRequest, NotFound
from mull.server.batches.objects import StoredFile, Written
from mull.server.batches.schemas import Upload
from mull.server.batches.store import BatchStore
from mull.server.batches.upload import receive
from mull.server.body import TooLarge
from mull.server.callers import Caller, caller_of
from mull.server.errors import invalid
from mull.server.query import whole_number
from mull.server.reload import Conflict
from mull.server.reply import as_json
from mull.server.settings import BatchSettings
from mull.server.storage.errors import StoreUnavailable

log = logging.getLogger(__name__)

MOST = 10_000
UNSAFE = re.compile(r"[\x00-\x1f\x7f\"\\]")


class Files:
    """Files as OpenAI's API has them, for batches only.

    Args:
        settings: How large they may be, and how long they are kept.
        store: Where they are.
    """

    def __init__(self, settings: BatchSettings, store: BatchStore) -> None:
        self._settings = settings
        self._store = store

    async def create(self, request: Request) -> Response:
        """Keep an uploaded file."""
        settings = self._settings
        if await self._store.file_bytes() >= settings.total_bytes:
            raise TooLarge("there is no more room for files (batches.total_bytes)", code="storage_full")
        draft, kind = self._store.draft(), request.headers.get("content-type", "")
        try:
            form = await receive(request.stream(), kind, draft, most=settings.file_bytes)
            asked = _upload(form.fields)
            now, size = int(time.time()), (await asyncio.to_thread(draft.stat)).st_size
            if not size:
                raise InvalidRequest("file must not be empty", param="file")
            kept = int(settings.max_age_days * 86_400)
            file = StoredFile(
                owner=caller_of(request).owner,
                filename=_safe(form.filename or ""),
                purpose=asked.purpose,
                bytes=size,
                created_at=now,
                expires_at=now + min(kept, asked.expires_after.seconds if asked.expires_after else kept),
            )
            await self._store.add_file(Written(file=file, draft=draft))
        except OSError as error:
            log.error("a file cannot be kept: %s", error)
            raise StoreUnavailable() from None
        finally:
            await asyncio.to_thread(draft.unlink, missing_ok=True)
        return as_json(file.to_dict())

    async def all(
        self,
        request: Request,
        limit: Annotated[str, Query()] = str(MOST),
        after: Annotated[str | None, Query()] = None,
        order: Annotated[str, Query()] = "desc",
        purpose: Annotated[str | None, Query()] = None,
    ) -> Response:
        """The caller's files, by age."""
        most, caller = whole_number("limit", limit, most=MOST), caller_of(request)
        if order not in ("asc", "desc"):
            raise InvalidRequest(f"order must be asc or desc, not {order!r:.60}", param="order")
        found = await self._store.files(
            caller,
            limit=most + 1,
            after=None if after is None else await self.find(after, caller, "after"),
            purpose=purpose,
            newest=order == "desc",
        )
        return as_json(listed([file.to_dict() for file in found], most))

    async def one(self, name: str, request: Request) -> Response:
        """What is known of a file."""
        return as_json((await self.find(name, caller_of(request))).to_dict())

    async def content(self, name: str, request: Request) -> Response:
        """What is in a file."""
        return Content(self._store, await self.find(name, caller_of(request)))

    async def delete(self, name: str, request: Request) -> Response:
        """Delete a file that no batch needs any more."""
        file = await self.find(name, caller_of(request))
        if (batch := await self._store.reading(file.id)) is not None:
            raise Conflict(f"{batch.id} still reads this file; cancel it first", code="file_in_use")
        await self._store.remove_file(file.id)
        return as_json({"id": file.id, "object": "file", "deleted": True})

    async def find(self, name: str, caller: Caller, param: str = "file_id") -> StoredFile:
        """A file that the caller may read.

        Raises:
            NotFound: there is none of this id, or not for this caller.
        """
        file = await self._store.file(name)
        if file is None or not caller.may_read(file.owner):
            raise _unknown(name, param)
        return file


class Content(FileResponse):
    """What is in a file, which is on this machine for as long as it is sent.

    Args:
        store: Where it is.
        file: What is known of it.
    """

    def __init__(self, store: BatchStore, file: StoredFile) -> None:
        headers = {"x-content-type-options": "nosniff"}
        super().__init__("", media_type="application/octet-stream", filename=file.filename, headers=headers)
        self._store = store
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with AsyncExitStack() as stack:
            try:
                self.path = await stack.enter_async_context(self._store.local(self._file.id))
            except FileNotFoundError:  # its time came meanwhile
                raise _unknown(self._file.id) from None
            await super().__call__(scope, receive, send)


def listed(rows: list[dict[str, Any]], most: int) -> dict[str, Any]:
    """A page of a list, of one object more than it shows."""
    page = rows[:most]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(rows) > most,
    }


def _unknown(name: str, param: str = "file_id") -> NotFound:
    return NotFound(f"there is no file {name!r:.80}", param=param)


def _upload(fields: dict[str, str]) -> Upload:
    """The fields of a form; `expires_after[seconds]` stands for a field of an object."""
    given: dict[str, Any] = {}
    for name, value in fields.items():
        inner = re.fullmatch(r"expires_after\[(\w+)\]", name)
        if inner is None:
            given[name] = value
        else:
            number = value.isascii() and value.isdigit() and len(value) < 10
            given.setdefault("expires_after", {})[inner[1]] = int(value) if number else value
    try:
        return Upload.model_validate(given)
    except ValidationError as error:
        raise invalid(error, Upload, also=["file"]) from None


def _safe(name: str) -> str:
    """A file's name without its folders, fit for a header."""
    return UNSAFE.sub("_", PurePath(name.replace("\\", "/")).name)[-255:] or "upload"
