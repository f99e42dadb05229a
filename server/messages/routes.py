"""The routes of Anthropic's Messages API."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from mull.errors import InvalidRequest, Unsupported
from mull.server.body import read_data
from mull.server.callers import caller_of
from mull.server.context import Context
from mull.server.messages.format import MessageFormat
from mull.server.messages.schema import MessagesRequest, parse, renamed
from mull.server.openapi import takes
from mull.server.reply import Reply, as_json
from mull.server.service import Job


class Messages:
    """Answers in the format of Anthropic's clients.

    Args:
        context: What the server runs on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> APIRouter:
        """Below `/v1`."""
        router = APIRouter()
        router.post("/messages", openapi_extra=takes(MessagesRequest))(self.create)
        router.post("/messages/count_tokens", openapi_extra=takes(MessagesRequest))(self.count)
        return router

    async def create(self, request: Request) -> Response:
        """Answer a conversation, as JSON or as server-sent events."""
        asked, job = await self._job(request, {})
        return Reply(
            self._context.service,
            job,
            MessageFormat(job, asked),
            stream=asked.stream,
            heartbeat=self._context.settings.heartbeat,
        )

    async def count(self, request: Request) -> Response:
        """How many tokens a request's messages are for its model."""
        _, job = await self._job(request, {"max_tokens": 1})
        generator = self._context.backend.generators[job.plan.model]
        ids = (await generator.render(job.task.chat)).ids
        if ids is None:
            raise Unsupported(
                f"model: the engine of {generator.model!r} does not show its tokenizer", param="model"
            )
        return as_json({"input_tokens": len(ids)})

    async def _job(self, request: Request, more: dict[str, int]) -> tuple[MessagesRequest, Job]:
        data = await read_data(request, self._context.settings.limits)
        self._context.backend.check_started()
        asked, chat = await asyncio.to_thread(parse, data | more)
        try:
            plan = self._context.catalog.choose(chat)
        except InvalidRequest as error:
            raise renamed(error, asked) from None
        return asked, Job(plan=plan, task=chat.task(plan.style), caller=caller_of(request))
