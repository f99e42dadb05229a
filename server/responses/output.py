"""The output of a response, made item by item while it is told in events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mull.server import render
from mull.types import TokenLogprob


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """How one kind of text is called in items and events."""

    item: str
    prefix: str
    part: str
    where: str
    """The item's list that has the text."""
    framed: str
    """Events that open and close the part."""
    told: str
    """Events that tell its text."""
    index: str


TEXT = _Kind(
    item="message",
    prefix="msg",
    part="output_text",
    where="content",
    framed="content_part",
    told="output_text",
    index="content_index",
)
THOUGHTS = _Kind(
    item="reasoning",
    prefix="rs",
    part="reasoning_text",
    where="content",
    framed="content_part",
    told="reasoning_text",
    index="content_index",
)
SUMMARY = _Kind(
    item="reasoning",
    prefix="rs",
    part="summary_text",
    where="summary",
    framed="reasoning_summary_part",
    told="reasoning_summary_text",
    index="summary_index",
)

Events = Iterator[dict[str, Any]]


class Output:
    """Items, and the events that tell them; events come without their numbers.

    Args:
        name: What the items' ids have in common.
        summarised: Whether thoughts are told as a summary.
        top: How many alternatives the log-probabilities of text have; None for no log-probabilities.
    """

    def __init__(self, name: str, *, summarised: bool, top: int | None) -> None:
        self._name = name
        self._thoughts = SUMMARY if summarised else THOUGHTS
        self._top = top
        self._kind: _Kind | None = None
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []

    def thoughts(self, text: str) -> Events:
        """More of what the model thinks."""
        yield from self._open(self._thoughts)
        yield from self._more(self._thoughts, text, {})

    def text(self, text: str, tokens: Sequence[TokenLogprob] = ()) -> Events:
        """More of the answer."""
        yield from self._open(TEXT)
        logprobs = [] if self._top is None else render.logprobs(tokens, self._top)["content"]
        self._logprobs += logprobs
        yield from self._more(TEXT, text, {"logprobs": logprobs})

    def call(self, call_id: str, name: str, arguments: str) -> Events:
        """A call of a tool."""
        yield from self.close()
        item = {
            "id": f"fc_{self._name}_{len(self.items)}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call_id,
            "name": name,
            "arguments": "",
        }
        at = {"item_id": item["id"], "output_index": len(self.items)}
        yield {"type": "response.output_item.added", "output_index": at["output_index"], "item": item}
        yield {"type": "response.function_call_arguments.delta", **at, "delta": arguments}
        yield {"type": "response.function_call_arguments.done", **at, "name": name, "arguments": arguments}
        self.items.append({**item, "status": "completed", "arguments": arguments})
        yield self._done()

    def close(self, status: Literal["completed", "incomplete"] = "completed") -> Events:
        """End the text that is being told, if there is one."""
        kind, self._kind = self._kind, None
        if kind is None:
            return
        text, part = "".join(self._pieces), self._part(kind)
        part["text"] = text
        logprobs = {"logprobs": self._logprobs} if kind is TEXT else {}
        if kind is TEXT and self._top is not None:
            part |= logprobs
        yield {"type": f"response.{kind.told}.done", **self._at(kind), "text": text, **logprobs}
        yield {"type": f"response.{kind.framed}.done", **self._at(kind), "part": part}
        self.items[-1] |= {"status": status, kind.where: [part]}
        self._pieces, self._logprobs = [], []
        yield self._done()

    def _open(self, kind: _Kind) -> Events:
        """Begin an item of text, where the last one is of another kind."""
        if self._kind is kind:
            return
        yield from self.close()
        item: dict[str, Any] = {
            "id": f"{kind.prefix}_{self._name}_{len(self.items)}",
            "type": kind.item,
            "status": "in_progress",
        }
        item |= {"role": "assistant", "content": []} if kind is TEXT else {"summary": [], "content": []}
        self._kind = kind
        self.items.append(item)
        yield {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": dict(item)}
        yield {"type": f"response.{kind.framed}.added", **self._at(kind), "part": self._part(kind)}

    def _more(self, kind: _Kind, text: str, logprobs: dict[str, Any]) -> Events:
        self._pieces.append(text)
        if text or logprobs.get("logprobs"):
            yield {"type": f"response.{kind.told}.delta", **self._at(kind), "delta": text, **logprobs}

    def _done(self) -> dict[str, Any]:
        return {
            "type": "response.output_item.done",
            "output_index": len(self.items) - 1,
            "item": dict(self.items[-1]),
        }

    def _at(self, kind: _Kind) -> dict[str, Any]:
        return {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1, kind.index: 0}

    def _part(self, kind: _Kind) -> dict[str, Any]:
        return {"type": kind.part, "text": "", **({"annotations": []} if kind is TEXT else {})}
