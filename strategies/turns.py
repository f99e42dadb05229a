"""Conversations made of a task's: with more turns after it, or with its question put differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mull.errors import Unsupported
from mull.types import Chat, text_of

_TURN = ("add_generation_prompt", "continue_final_message")
"""What a template is told of the turn that a conversation ends in."""


def follow_up(chat: Chat, *turns: str) -> Chat:
    """The chat with an answer and a further request after it; more pairs of them may follow."""
    roles = ("assistant", "user")
    before = chat.messages
    if _continued(chat):
        # The answer goes on with the last message: they are one turn.
        before, begun = chat.messages[:-1], chat.messages[-1]
        turns = (f"{text_of(begun.get('content'))}{turns[0]}", *turns[1:])
    added = tuple({"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns))
    template = {name: value for name, value in chat.template.items() if name not in _TURN}
    return replace(chat, messages=(*before, *added), template=template)


def rephrased(chat: Chat, question: str) -> Chat:
    """The chat with another text as its last user message.

    Raises:
        Unsupported: it ends within the model's own turn, which answers the question as it was put.
    """
    if _continued(chat):
        raise Unsupported(
            "continue_final_message cannot be honoured: this strategy puts the question differently",
            param="continue_final_message",
        )
    messages = list(chat.messages)
    for i in range(len(messages) - 1, -1, -1):
        if messages[i].get("role") == "user":
            messages[i] = {**messages[i], "content": question}
            return replace(chat, messages=tuple(messages))
    return replace(chat, messages=(*messages, {"role": "user", "content": question}))


def preceded(chat: Chat, *messages: Mapping[str, Any]) -> Chat:
    """The chat with messages before its own, behind its system messages."""
    systems = 0
    while systems < len(chat.messages) and chat.messages[systems].get("role") in ("system", "developer"):
        systems += 1
    own = chat.messages
    return replace(chat, messages=(*own[:systems], *messages, *own[systems:]))


def instructed(chat: Chat, instruction: str) -> Chat:
    """The chat with an instruction as (or at the end of) its system message."""
    first = chat.messages[0] if chat.messages else {}
    if first.get("role") not in ("system", "developer"):
        return replace(chat, messages=({"role": "system", "content": instruction}, *chat.messages))
    content = f"{text_of(first.get('content'))}\n\n{instruction}"
    return replace(chat, messages=({**first, "content": content}, *chat.messages[1:]))


def _continued(chat: Chat) -> bool:
    return bool(chat.template.get("continue_final_message"))
