"""POST /tokenize and POST /detokenize, as vLLM has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from mull.errors import InvalidRequest, Unsupported, one_of
from mull.protocols import Generator, Tokenizing
from mull.server.body import read_as
from mull.server.context import Context
from mull.server.openapi import takes
from mull.server.reply import as_json
from mull.server.schemas import ChatRequest, Message, Strict, check
from mull.server.tools import Tool

Model = Annotated[str | None, Field(min_length=1, max_length=256)]


class TokenizeRequest(Strict):
    """A text, or a conversation as the model's chat template renders it."""

    model: Model = Field(None, description="May be left out where there is one.")
    prompt: str | None = None
    messages: list[Message] | None = Field(None, min_length=1, max_length=4096)
    add_special_tokens: bool | None = Field(
        None, description="Put the tokenizer's own around a prompt: by default true. Not for messages."
    )
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    tools: list[Tool] = Field(default_factory=list, max_length=128)
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    return_token_strs: Literal[False] = False


class DetokenizeRequest(Strict):
    """Token ids."""

    model: Model = None
    tokens: list[Annotated[int, Field(ge=0, lt=2**31)]]


class Tokens:
    """Shows what the models' tokenizers make of texts.

    Args:
        context: What the server runs on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> APIRouter:
        """At the root, as in vLLM."""
        router = APIRouter()
        router.post("/tokenize", openapi_extra=takes(TokenizeRequest))(self.tokenize)
        router.post("/detokenize", openapi_extra=takes(DetokenizeRequest))(self.detokenize)
        return router

    async def tokenize(self, request: Request) -> Response:
        """The token ids of a text or of a rendered conversation."""
        asked = await read_as(TokenizeRequest, request, self._context.settings.limits)
        generator = self._generator(asked.model)
        if (asked.prompt is None) == (asked.messages is None):
            raise InvalidRequest("give either prompt or messages", param="prompt")
        if asked.prompt is not None:
            special = asked.add_special_tokens is not False
            ids = await _tokenizing(generator).encode(asked.prompt, special=special)
        else:
            ids = await self._rendered(generator, asked)
        return as_json({"count": len(ids), "max_model_len": generator.context, "tokens": list(ids)})

    async def detokenize(self, request: Request) -> Response:
        """The text of token ids, special tokens written out."""
        asked = await read_as(DetokenizeRequest, request, self._context.settings.limits)
        generator = _tokenizing(self._generator(asked.model))
        return as_json({"prompt": await generator.spell(asked.tokens)})

    async def _rendered(self, generator: Generator, asked: TokenizeRequest) -> tuple[int, ...]:
        if asked.add_special_tokens:
            raise InvalidRequest(
                "add_special_tokens: the chat template has put them in already", param="add_special_tokens"
            )
        chat = ChatRequest(
            model=generator.model,
            messages=asked.messages or [],
            tools=asked.tools,
            chat_template_kwargs=asked.chat_template_kwargs,
            add_generation_prompt=asked.add_generation_prompt,
            continue_final_message=asked.continue_final_message,
        )
        check(chat)
        ids = (await generator.render(chat.task().chat)).ids
        if ids is None:
            raise _no_tokens(generator)
        return ids

    def _generator(self, name: str | None) -> Generator:
        backend = self._context.backend
        backend.check_started()
        if name is None and len(backend.generators) > 1:
            raise InvalidRequest(f"model: name one of {one_of(backend.generators)}", param="model")
        if name is None:
            return next(iter(backend.generators.values()))
        return backend.generators[self._context.catalog.served(name)]


def _tokenizing(generator: Generator) -> Tokenizing:
    if not isinstance(generator, Tokenizing):
        raise _no_tokens(generator)
    return generator


def _no_tokens(generator: Generator) -> Unsupported:
    return Unsupported(f"model: the engine of {generator.model!r} does not show its tokenizer", param="model")
