"""A search as it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from mull_client.results import TTC, Node, Result


class Started(NamedTuple):
    """The search begins, and this is how."""

    plan: TTC


class Searched(NamedTuple):
    """A node is new, or has another score or other data."""

    node: Node


class Text(NamedTuple):
    """More text of the answer (`choice` 0) or of another choice; nothing of it is taken back."""

    delta: str
    choice: int = 0


class Finished(NamedTuple):
    """The last event."""

    result: Result


Event: TypeAlias = Started | Searched | Text | Finished


class Reading:
    """Chunks of a stream as events."""

    def __init__(self) -> None:
        self._state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        self._nodes: dict[int, Node] = {}
        self._ttc: dict[str, Any] = {}

    def events(self, chunk: ChatCompletionChunk) -> Iterator[Event]:
        """What a chunk tells."""
        ttc = (chunk.model_extra or {}).pop("ttc", None) or {}
        if "node" in ttc:
            node = Node.construct(**ttc["node"])
            self._nodes[node.id] = node
            yield Searched(node)
            return
        self._state.handle_chunk(chunk)
        if ttc and not self._ttc:
            yield Started(TTC.construct(**ttc))
        self._ttc |= ttc
        for choice in chunk.choices:
            if choice.delta.content:
                yield Text(choice.delta.content, choice.index)

    def end(self) -> Finished:
        """The whole, after the last chunk."""
        whole: dict[str, Any] = self._state.get_final_completion().to_dict()
        return Finished(Result.of(ChatCompletion.construct(**whole, ttc=self._ttc), self._nodes.values()))
