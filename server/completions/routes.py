"""The route of the older completions."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from mull.errors import InvalidRequest, Unsupported
from mull.protocols import Generator, Tokenizing
from mull.server.body import read_data
from mull.server.callers import caller_of
from mull.server.completions.format import CompletionFormat
from mull.server.completions.schema import CompletionRequest, parse
from mull.server.completions.together import ReplyToAll
from mull.server.context import Context
from mull.server.openapi import takes
from mull.server.service import Job
from mull.types import Bare, Chat


class Completions:
    """Goes on with prompts that are given without a conversation.

    Args:
        context: What the server runs on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> APIRouter:
        """Below `/v1`."""
        router = APIRouter()
        router.post("/completions", openapi_extra=takes(CompletionRequest))(self.completions)
        return router

    async def completions(self, request: Request) -> Response:
        """Go on with one prompt or several, as JSON or as server-sent events."""
        limits = self._context.settings.limits
        data = await read_data(request, limits)
        self._context.backend.check_started()
        asked = await asyncio.to_thread(parse, data, most=limits.prompts)
        chat = asked.as_chat()
        plan, task = self._context.catalog.choose(chat), chat.task()
        generator = self._context.backend.generators[plan.model]
        name = uuid.uuid4().hex
        prompts = [await _spelt(generator, prompt) for prompt in asked.prompts]
        jobs = [
            Job(plan=plan, task=replace(task, chat=Chat.of(prompt)), caller=caller_of(request), request=name)
            for prompt in prompts
        ]
        return ReplyToAll(
            self._context.service,
            jobs,
            CompletionFormat(jobs, asked),
            stream=asked.stream,
            heartbeat=self._context.settings.heartbeat,
        )


async def _spelt(generator: Generator, prompt: Bare) -> Bare:
    """The prompt with its text, which verifiers and strategies read, also where it was given as token ids.

    Raises:
        InvalidRequest: the model has no such tokens, or its server does not show its tokenizer.
    """
    if prompt.ids is None:
        return prompt
    if not isinstance(generator, Tokenizing):
        raise Unsupported(f"model {generator.model!r} does not take token ids; send text", param="prompt")
    try:
        return replace(prompt, text=await generator.spell(prompt.ids))
    except InvalidRequest as error:
        error.param = "prompt"
        raise
