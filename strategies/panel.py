"""Several writers, one model's or several models', who are shown what others wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Many
from mull.strategies.replies import spoken
from mull.strategies.room import roomy
from mull.types import Candidate, Chat

Models = Many[Annotated[str, Field(min_length=1, max_length=256)]]
"""Names of models of the server."""

Shows = Callable[[Sequence[str]], Chat]
"""A conversation in which texts are shown."""


def numbered(texts: Sequence[str]) -> str:
    """The texts, without their thoughts, under numbers from 1."""
    return "\n\n".join(f"[{i}]\n{spoken(text)}" for i, text in enumerate(texts, start=1))


async def shown(run: Run, texts: Sequence[str], shows: Shows, *, under: int | None) -> Candidate | None:
    """The root of a conversation that shows the texts, the last of them left out where the context is short.

    Room is left for a reply.

    Returns:
        The root; None when there are texts and not even one fits, which the trace then says.

    Raises:
        InvalidRequest: without any text, the conversation is too long.
    """
    if not texts:
        return await run.start(shows(()), under=under)
    for count in range(len(texts), 0, -1):
        root = await roomy(run, shows(texts[:count]), under=under)
        if root is not None:
            return root
    run.mark("too_long", parent=under, texts=len(texts))
    return None


async def write(
    writers: Sequence[tuple[Run, int]], texts: Sequence[str], shows: Shows, *, under: int, kind: str
) -> list[tuple[Run, Candidate]]:
    """What each writer writes, as often as its number says, when it is shown the texts."""
    first = writers[0][0]
    roots = await first.together([shown(writer, texts, shows, under=under) for writer, _ in writers])
    able = [(writer, n, root) for (writer, n), root in zip(writers, roots, strict=True) if root is not None]
    drafts = await first.together([writer.collect(root, n=n, kind=kind) for writer, n, root in able])
    return [(writer, c) for (writer, _, _), drawn in zip(able, drafts, strict=True) for c in drawn]


def writers(run: Run, models: Sequence[str], n: int) -> list[tuple[Run, int]]:
    """Runs with the number of texts that each writes of `n`: this one, or one for each model, by turns.

    Raises:
        NotFound: the server has no such model.
    """
    if not models:
        return [(run, n)]
    shares = Counter(models[i % len(models)] for i in range(n))
    return [(run.child(model=name), count) for name, count in shares.items()]
