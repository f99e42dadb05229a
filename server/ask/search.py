"""A search while it runs, as the chunks of a stream tell it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Node = Mapping[str, Any]


class Search:
    """What is known of a search so far. One thread tells it, another may look at a `snapshot`.

    Args:
        clock: Seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._answers: dict[int, str | None] = {}
        self.plan: Mapping[str, Any] = {}
        """Strategy, parameters, verifier and budget; empty where the server is no mull."""
        self.nodes: dict[int, Node] = {}
        self.texts: dict[int, str] = {}
        """The text of each choice so far."""
        self._thoughts: dict[int, str] = {}
        self._finish: dict[int, str | None] = {}
        self._usage: Mapping[str, Any] = {}
        self._chunk: Mapping[str, Any] = {}

    def tell(self, chunk: Mapping[str, Any]) -> None:
        """Take in a chunk."""
        ttc = chunk.get("ttc") or {}
        with self._lock:
            self._chunk = chunk
            self._usage = chunk.get("usage") or self._usage
            if node := ttc.get("node"):
                self.nodes[node["id"]] = node
                return
            self.plan = {**self.plan, **ttc}
            for choice in chunk.get("choices") or ():
                index, delta = choice["index"], choice.get("delta") or {}
                self.texts[index] = self.texts.get(index, "") + (delta.get("content") or "")
                self._thoughts[index] = self._thoughts.get(index, "") + (delta.get("reasoning") or "")
                self._finish[index] = choice.get("finish_reason") or self._finish.get(index)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    def snapshot(self) -> list[Node]:
        """The nodes so far, in the order of their ids."""
        with self._lock:
            return [self.nodes[id] for id in sorted(self.nodes)]

    def votes(self) -> list[tuple[str, int]]:
        """The answers found so far with how many say so, most frequent first; equal by spelling only."""
        nodes = {node["id"]: node for node in self.snapshot()}
        ends = [node for node in nodes.values() if _is_answer(node)]
        for node in ends:
            if node["id"] not in self._answers:
                self._answers[node["id"]] = _answer(_text(nodes, node))
        found = (self._answers[node["id"]] for node in ends)
        return Counter(answer for answer in found if answer).most_common()

    def completion(self) -> dict[str, Any]:
        """The whole as one chat completion, after the last chunk."""
        frame = {name: self._chunk[name] for name in ("id", "created", "model") if name in self._chunk}
        choices = []
        for index, text in sorted(self.texts.items()):
            message = {"role": "assistant", "content": text}
            if thoughts := self._thoughts[index]:
                message["reasoning"] = thoughts
            choices.append({"index": index, "message": message, "finish_reason": self._finish[index]})
        ttc = {"ttc": self.plan} if self.plan else {}
        return {**frame, "object": "chat.completion", "choices": choices, "usage": self._usage, **ttc}


def _is_answer(node: Node) -> bool:
    """Whether an answer ends here that was not given up and is no other one over again."""
    return node["finish"] == "stop" and node["kind"] != "cancelled" and not node["data"].get("merged")


def _text(nodes: Mapping[int, Node], node: Node) -> str:
    """All that was written up to the end of a node."""
    parts: list[str] = []
    at: Node | None = node
    while at is not None:
        parts.append(at["text"])
        at = None if at["parent"] is None else nodes.get(at["parent"])
    return "".join(reversed(parts))


def _answer(text: str) -> str | None:
    from mull.answers import extract, normal

    found = extract.auto(text)
    return None if found is None else normal.read(found).text
