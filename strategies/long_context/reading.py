"""Reading a long text part by part: what fits into a conversation, and a note of each part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mull.chunks import chunks
from mull.errors import InvalidRequest
from mull.run import Run
from mull.strategies.asides import aside
from mull.strategies.replies import spoken
from mull.strategies.room import roomy
from mull.types import Candidate, Chat

_SAFETY = 0.9
"""Part of the room that chunks are planned to fill: some places of a text have more tokens than its begin."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a text, and the root of the conversation about it."""

    text: str
    root: Candidate


@dataclass(frozen=True, kw_only=True)
class Note:
    """What the model noted of a part."""

    part: str
    reply: Candidate

    @property
    def text(self) -> str:
        """The note."""
        return spoken(self.reply.text)


class Reader:
    """Has the model read texts, each part in a conversation of its own.

    Args:
        run: What it is asked of.
        ask: The conversation about a part.
        window: Longest prompt plus reply, in tokens.
        tokens: Longest note.
        overlap: Share of a part that the next one repeats.
        nothing: The reply to a part that has nothing to note.
    """

    def __init__(
        self,
        run: Run,
        *,
        ask: Callable[[str], Chat],
        window: int,
        tokens: int,
        overlap: float,
        nothing: str,
    ) -> None:
        self._run = run
        self._ask = ask
        self._window = window
        self._tokens = min(tokens, window // 4)
        self._overlap = overlap
        self._nothing = nothing.casefold()
        self.replies: list[Candidate] = []
        """All that the model replied, latest first."""

    async def parts(self, text: str, *, under: int) -> list[Part]:
        """The text in parts that fit, cut at the ends of sentences where there are any.

        Chunks are planned in characters, from the tokens that the text's begin takes, and rendered one by
        one: what turns out too long is halved, and so on. A single character that does not fit is left out.

        Raises:
            InvalidRequest: there is no room even for an empty part.
        """
        size = await self._characters(text)
        pieces = chunks(text, size, overlap=int(size * self._overlap))
        parts = await self._run.together([self._fitted(piece, under) for piece in pieces])
        return [part for cut in parts for part in cut]

    async def _fitted(self, piece: str, under: int) -> list[Part]:
        root = await roomy(self._run, self._ask(piece), under=under, window=self._window, reply=self._tokens)
        if root is not None:
            return [Part(text=piece, root=root)]
        if len(piece) < 2:
            return []
        halves = chunks(piece, (len(piece) + 1) // 2)
        return [part for half in halves for part in await self._fitted(half, under)]

    async def _characters(self, text: str) -> int:
        """How many characters fit, planned with the tokens that as many as there is room for take."""
        base = await self._run.start(self._ask(""))
        taken = len(base.prompt.ids or ())
        room = self._window - self._tokens - taken
        if room <= 0:
            raise InvalidRequest(
                f"without the long text the messages have {taken} tokens, which leaves no room for it",
                param="messages",
                code="context_length_exceeded",
            )
        sample = text[:room]
        while (length := await self._length(sample)) is None and len(sample) > 1:
            sample = sample[: len(sample) // 2]
        each = max(1, (length or self._window) - taken) / len(sample)
        return max(1, int(_SAFETY * room / each))

    async def _length(self, part: str) -> int | None:
        """Tokens of the conversation about a part; None when it is longer than the context."""
        try:
            root = await self._run.start(self._ask(part))
        except InvalidRequest as refused:
            if refused.code != "context_length_exceeded":
                raise
            return None
        return len(root.prompt.ids or ())

    async def notes(self, parts: Sequence[Part]) -> list[Note]:
        """A note of each part; without those that say that there is nothing, and those the budget forbids."""
        sampling = replace(aside(self._run.task.sampling), max_tokens=self._tokens)
        replies = await self._run.together(
            [self._run.collect(part.root, sampling=sampling, kind="note") for part in parts]
        )
        self.replies[:0] = [reply for drawn in replies for reply in drawn]
        found = [
            Note(part=part.text, reply=drawn[0]) for part, drawn in zip(parts, replies, strict=True) if drawn
        ]
        return [note for note in found if self._says_something(note.text)]

    def _says_something(self, note: str) -> bool:
        return note.strip(" .!\"'*").casefold() not in ("", self._nothing)
