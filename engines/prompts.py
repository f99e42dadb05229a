"""Prompts, and what engines refuse before they generate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from mull.errors import InvalidRequest, Unsupported
from mull.types import Chat, Prompt


def text_only(chat: Chat) -> None:
    """Raise `Unsupported` if a message has parts other than text."""
    for i, message in enumerate(chat.messages):
        content = message.get("content")
        parts = content if isinstance(content, list | tuple) else ()
        kinds = {part.get("type") if isinstance(part, Mapping) else type(part).__name__ for part in parts}
        for kind in sorted(map(str, kinds - {"text"})):
            raise Unsupported(
                f"content of type {kind!r} is not supported, only 'text'", param=f"messages[{i}]"
            )


def images_in(chat: Chat) -> bool:
    """Whether a message has parts other than text."""
    contents = (message.get("content") for message in chat.messages)
    return any(
        isinstance(content, list | tuple)
        and any(not isinstance(part, Mapping) or part.get("type") != "text" for part in content)
        for content in contents
    )


def too_long(tokens: int | str, context: int, *, what: str = "messages") -> InvalidRequest:
    """The error for a prompt that leaves no room for an answer, worded as OpenAI's."""
    return InvalidRequest(
        f"This model's maximum context length is {context} tokens. However, your {what} resulted in "
        f"{tokens} tokens. Please reduce the length of the {what}.",
        param=what,
        code="context_length_exceeded",
    )


def fitting(ids: Sequence[int], context: int) -> tuple[int, ...]:
    """The token ids of a prompt given without chat template.

    Raises:
        InvalidRequest: there are none, or so many that there is no room for an answer.
    """
    if not ids:
        raise InvalidRequest("the prompt has no tokens; this model needs at least one", param="prompt")
    if len(ids) >= context:
        raise too_long(len(ids), context, what="prompt")
    return tuple(ids)


class Template:
    """A model's chat template.

    Args:
        apply: The token ids of a conversation.
        model: The model's name.
        context: Longest prompt plus completion, in tokens.
    """

    def __init__(
        self, apply: Callable[[Chat], Awaitable[tuple[int, ...]]], *, model: str, context: int
    ) -> None:
        self._apply = apply
        self._model = model
        self._context = context
        self._shows_tools = False

    async def prompt(self, chat: Chat) -> Prompt:
        """A conversation as a prompt.

        Raises:
            InvalidRequest: it leaves no room for an answer.
            Unsupported: it has tools that the template does not show to the model.
        """
        ids = await self._apply(chat)
        if chat.tools and not self._shows_tools:
            if await self._apply(replace(chat, tools=())) == ids:
                raise Unsupported(
                    f"the chat template of model {self._model!r} does not show tools to it", param="tools"
                )
            self._shows_tools = True
        if len(ids) >= self._context:
            raise too_long(len(ids), self._context)
        return Prompt(chat=chat, ids=ids)
