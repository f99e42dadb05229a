"""Taking an answer apart into thoughts, content and tool calls, while it is being written.

However a text is cut into pieces, the parts are the same. Nothing is told as content that may still turn
out to be a mark or a part of a tool call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mull.answers.calls import Call, read_calls, read_named_calls
from mull.form import Form, Thoughts

OPEN = {"auto": "<tool_call>", "hermes": "<tool_call>", "mistral": "[TOOL_CALLS]", "json": ""}
"""What begins a call inside a text; nothing where a call is the whole text."""

CLOSE = "</tool_call>"
LLAMA = "<|python_tag|>"
"""What Llama 3 may write before a call."""


@dataclass(frozen=True, kw_only=True)
class Thought:
    """More of what the model thinks."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """More of what it says."""

    text: str


Piece = Thought | Content | Call


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A whole answer, taken apart."""

    reasoning: str | None
    content: str
    calls: tuple[Call, ...] = ()
    broken: bool = False
    """Whether a tool call was begun that cannot be read; its text is content then."""


class Splitter:
    """Takes one answer apart.

    White space around thoughts, and before calls, belongs to neither. Calls beyond the first are left out
    where the form allows only one.

    Args:
        form: How the answer is to be read.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self._thoughts = form.thoughts
        self._open = OPEN[form.style] if form.tools else ""
        self._bare = bool(form.tools) and (form.style in ("auto", "json") or bool(form.call))
        self._rest = ""
        self._state: Literal["start", "thought", "before", "content", "bare", "call", "named"] = "start"
        self._thinking = self._thought = False
        self._calls = 0
        self._from = 0
        self.broken = False
        if form.thoughts is None:
            self._state = "before"
        if form.begun:
            # What is begun has been told already.
            list(self.feed(form.begun))
            self._rest = "" if self._state in ("before", "content") else self._rest

    def feed(self, text: str) -> Iterator[Piece]:
        """More of the answer; what is certain of it by now."""
        if self._form.plain:
            if text:
                yield Content(text=text)
            return
        self._rest += text
        moved = True
        while moved:
            before = self._state, len(self._rest)
            yield from self._step()
            moved = before != (self._state, len(self._rest))

    def close(self) -> Iterator[Piece]:
        """The answer has ended; what was held back."""
        rest, self._rest = self._rest, ""
        match self._state:
            case "thought":
                yield from self._think(rest.rstrip())
            case "start":
                if self._thoughts is not None and self._thoughts.opened:
                    yield from self._think(rest.strip())
                elif rest:
                    yield Content(text=rest)
            case "bare":
                yield from self._read(rest, rest, whole=True)
            case "call":
                yield from self._read(rest, self._open + rest)
            case "named":
                for block in rest.split(self._open):
                    yield from self._read(block, self._open + block)
            case _:
                # White space that was held back in case a call came after it.
                if rest and not (self._calls and not rest.strip()):
                    yield Content(text=rest)

    def _step(self) -> Iterator[Piece]:
        match self._state:
            case "start":
                assert self._thoughts is not None
                self._begin(self._thoughts)
            case "thought":
                assert self._thoughts is not None
                yield from self._in_thought(self._thoughts)
            case "before":
                self._before_content()
            case "content":
                yield from self._in_content()
            case "call":
                yield from self._in_call()
            case _:
                pass

    def _begin(self, thoughts: Thoughts) -> None:
        stripped = self._rest.lstrip()
        if stripped.startswith(thoughts.open):
            self._rest, self._state = stripped[len(thoughts.open) :], "thought"
        elif not thoughts.open.startswith(stripped):
            self._state = "thought" if thoughts.opened else "before"

    def _in_thought(self, thoughts: Thoughts) -> Iterator[Piece]:
        if not self._thinking:
            self._rest = self._rest.lstrip()
        thought, closed, rest = self._rest.partition(thoughts.close)
        if closed:
            yield from self._think(thought.rstrip())
            self._rest, self._state, self._thought = rest, "before", True
            return
        certain = len(self._rest) - _held(self._rest, thoughts.close)
        certain = len(self._rest[:certain].rstrip())
        yield from self._think(self._rest[:certain])
        self._rest = self._rest[certain:]

    def _think(self, text: str) -> Iterator[Piece]:
        if text:
            self._thinking = True
            yield Thought(text=text)

    def _before_content(self) -> None:
        """Find out whether the content is a call and nothing else."""
        stripped = self._rest.lstrip()
        if self._thought:
            self._rest = stripped
        if not stripped or (self._bare and self._open.startswith(stripped)):
            return
        marked = bool(self._open) and stripped.startswith(self._open)
        if not self._bare or marked:
            self._state = "content"
        elif stripped.startswith(("{", "[", LLAMA)):
            self._state = "bare"
        elif not LLAMA.startswith(stripped):
            self._state = "content"

    def _in_content(self) -> Iterator[Piece]:
        if not self._open:
            yield from self._say(self._rest)
            self._rest = ""
            return
        content, opened, rest = self._rest.partition(self._open)
        if opened:
            yield from self._say(content.rstrip())
            self._rest, self._from = rest, 0
            self._state = "named" if self._form.style == "mistral" else "call"
            return
        certain = len(self._rest) - _held(self._rest, self._open)
        certain = len(self._rest[:certain].rstrip())
        yield from self._say(self._rest[:certain])
        self._rest = self._rest[certain:]

    def _say(self, text: str) -> Iterator[Piece]:
        if text:
            yield Content(text=text)

    def _in_call(self) -> Iterator[Piece]:
        """A call ends at the first mark before which it can be read: arguments may hold the mark too."""
        while (end := self._rest.find(CLOSE, self._from)) >= 0:
            try:
                calls = read_calls(self._rest[:end])
            except ValueError:
                self._from = end + len(CLOSE)
                continue
            self._rest, self._state = self._rest[end + len(CLOSE) :], "content"
            yield from self._call(calls)
            return
        self._from = max(0, len(self._rest) - len(CLOSE) + 1, self._from)

    def _read(self, text: str, raw: str, *, whole: bool = False) -> Iterator[Piece]:
        """What a text that has ended is: calls, or else content."""
        try:
            if self._state == "named":
                calls = read_named_calls(text)
            else:
                calls = read_calls(text.strip().removeprefix(LLAMA))
                if whole and any(call.name not in self._form.tools for call in calls):
                    raise ValueError("no call of a tool that there is")
        except ValueError:
            # A text of JSON that is no call may be what was wanted.
            self.broken = self.broken or not whole or bool(self._form.call)
            if raw:
                yield Content(text=raw)
            return
        yield from self._call(calls)

    def _call(self, calls: list[Call]) -> Iterator[Piece]:
        allowed = calls if self._form.parallel else calls[: 1 - min(1, self._calls)]
        self._calls += len(allowed)
        yield from allowed


def split(text: str, form: Form) -> Parts:
    """A whole answer, taken apart."""
    splitter = Splitter(form)
    pieces = [*splitter.feed(text), *splitter.close()]
    thoughts = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
    return Parts(
        reasoning=thoughts or None,
        content="".join(piece.text for piece in pieces if isinstance(piece, Content)),
        calls=tuple(piece for piece in pieces if isinstance(piece, Call)),
        broken=splitter.broken,
    )


def _held(text: str, mark: str) -> int:
    """How much of a text's end may be the begin of a mark."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:size]):
            return size
    return 0
