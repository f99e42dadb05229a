"""Conversations that leave room for a reply."""

from __future__ import annotations

from mull.errors import InvalidRequest
from mull.run import Run
from mull.types import Candidate, Chat

_SHARE = 4


async def roomy(
    run: Run, chat: Chat, *, under: int | None = None, window: int | None = None, reply: int | None = None
) -> Candidate | None:
    """The root of a conversation, if it leaves a quarter of the context, or `max_tokens` if that is less.

    A `window` shorter than the context takes its place, a `reply` that of `max_tokens`.

    Returns:
        The root, below the trace node `under`; None for a chat that is too long.
    """
    try:
        root = await run.start(chat, under=under)
    except InvalidRequest as refused:
        if refused.code != "context_length_exceeded":
            raise
        return None
    context = run.context if window is None else min(window, run.context)
    asked = run.task.sampling.max_tokens if reply is None else reply
    room = context // _SHARE if asked is None else min(asked, context // _SHARE)
    return root if len(root.prompt.ids or ()) + room <= context else None
