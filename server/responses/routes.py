"""The routes of the Responses API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter
from pydantic_core import to_json

from mull.errors import InvalidRequest, NotFound
from mull.server.body import read_data
from mull.server.callers import Caller, caller_of
from mull.server.context import Context
from mull.server.openapi import takes
from mull.server.query import whole_number
from mull.server.reply import Reply, as_json
from mull.server.responses.format import ResponseFormat
from mull.server.responses.items import Item, Items
from mull.server.responses.schema import ResponseRequest, parse, renamed
from mull.server.responses.store import Kept, ResponseStore
from mull.server.service import Job

ITEMS: TypeAdapter[list[Item]] = TypeAdapter(Items)
PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
}


class Responses:
    """Makes responses, and keeps them for a while.

    Args:
        context: What the server runs on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = ResponseStore(context.settings.responses)

    def routes(self) -> APIRouter:
        """Below `/v1`."""
        router = APIRouter()
        router.post("/responses", openapi_extra=takes(ResponseRequest))(self.create)
        router.get("/responses/{name}")(self.get)
        router.delete("/responses/{name}")(self.delete)
        router.get("/responses/{name}/input_items")(self.input_items)
        return router

    async def create(self, request: Request) -> Response:
        """Answer a conversation, as JSON or as server-sent events."""
        limits, caller = self._context.settings.limits, caller_of(request)
        data = await read_data(request, limits)
        self._context.backend.check_started()
        asked = await asyncio.to_thread(parse, data)
        before, size_before = self._before(asked.previous_response_id, caller)
        chat = await asyncio.to_thread(asked.as_chat, before)
        try:
            plan = self._context.catalog.choose(chat)
        except InvalidRequest as error:
            raise renamed(error) from None
        job = Job(plan=plan, task=chat.task(plan.style), caller=caller)
        items = (*before, *asked.input)

        def keep(response: Mapping[str, Any]) -> None:
            size = size_before + len(to_json([asked.input, response], inf_nan_mode="null"))
            kept = Kept(response=response, items=items, owner=caller.owner, size=size)
            self._store.put(response["id"], kept)

        return Reply(
            self._context.service,
            job,
            ResponseFormat(job, asked, keep),
            stream=asked.stream,
            heartbeat=self._context.settings.heartbeat,
        )

    async def get(self, name: str, request: Request) -> Response:
        """A response that is kept."""
        if request.query_params.get("stream", "false") != "false":
            raise InvalidRequest("stream: a response that is complete is not streamed again", param="stream")
        return as_json(self._store.get(name, caller_of(request)).response)

    async def delete(self, name: str, request: Request) -> Response:
        """Forget a response."""
        self._store.delete(name, caller_of(request))
        return as_json({"id": name, "object": "response", "deleted": True})

    async def input_items(
        self,
        name: str,
        request: Request,
        limit: Annotated[str, Query()] = "20",
        order: Annotated[str, Query()] = "desc",
        after: Annotated[str | None, Query()] = None,
    ) -> Response:
        """The conversation that a response answered, newest first unless `order` is asc."""
        most = whole_number("limit", limit, most=100)
        if order not in ("asc", "desc"):
            raise InvalidRequest(f"order must be 'asc' or 'desc', not {order!r:.60}", param="order")
        rows = _listed(name, self._store.get(name, caller_of(request)).items)
        if order == "desc":
            rows.reverse()
        ids = [row["id"] for row in rows]
        if after is not None and after not in ids:
            raise InvalidRequest(f"after: there is no item {after!r:.80}", param="after")
        start = 0 if after is None else ids.index(after) + 1
        page = rows[start : start + most]
        return as_json(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": start + len(page) < len(rows),
            }
        )

    def _before(self, name: str | None, caller: Caller) -> tuple[tuple[Item, ...], int]:
        """The conversation up to and with an earlier response, and its size.

        Raises:
            InvalidRequest: it is not there.
        """
        if name is None:
            return (), 0
        try:
            kept = self._store.get(name, caller)
        except NotFound as error:
            raise InvalidRequest(
                f"previous_response_id: {error.message}",
                param="previous_response_id",
                code="previous_response_not_found",
            ) from None
        return (*kept.items, *ITEMS.validate_python(kept.response["output"])), kept.size


def _listed(name: str, items: Sequence[Item]) -> list[dict[str, Any]]:
    """Items as they are shown, each with an id."""
    return [
        {
            "id": f"{PREFIXES[item.type]}_{name.removeprefix('resp_')}_in{number}",
            "status": "completed",
            **item.model_dump(exclude_none=True),
        }
        for number, item in enumerate(items)
    ]
