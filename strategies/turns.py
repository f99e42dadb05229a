"""Conversations made of a task's: with more turns after it, or with its question put differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mull.types import Chat, text_of


def follow_up(chat: Chat, *turns: str) -> Chat:
    """The chat with an answer and a further request after it; more pairs of them may follow."""
    roles = ("assistant", "user")
    added = tuple({"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns))
    return replace(chat, messages=(*chat.messages, *added))


def rephrased(chat: Chat, question: str) -> Chat:
    """The chat with another text as its last user message."""
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
