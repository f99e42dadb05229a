"""Traces that a server kept: read, and cut into the answers that its searches came to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mull.training.data.trace_sources import Source

GROWN = {
    "forced", "greedy", "lookahead", "part", "rollout", "sample", "span", "step", "thinking", "token", "turn",
}  # fmt: skip
"""Kinds of nodes whose text is part of an answer to the request's own messages."""
STAGES = {"root", "adaptive", "stage"}
"""Kinds of nodes that add no text, and below which such answers grow."""


class Node(BaseModel):
    """What training reads of a node; the other fields of the trace are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    parent: int | None
    kind: str
    text: str | None
    finish: Literal["stop", "step", "length"] | None = None


class Trace(BaseModel):
    """What training reads of a line that the server wrote."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    created: int
    status: Literal["finished", "failed", "cancelled"]
    model: str
    strategy: str
    parameters: dict[str, Any] | None
    verifier: dict[str, Any] | None
    messages: list[dict[str, Any]] | None
    """None where the server keeps no text."""
    answer_kind: str
    reference: str | None
    answer: str | None
    node: int | None = None
    """The leaf that was served."""
    nodes: list[Node]

    @property
    def delimiter(self) -> str:
        """What ends a step."""
        found = (self.parameters or {}).get("delimiter")
        return found if isinstance(found, str) and found else "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What counts of the feedback on a trace."""

    reference: str | None = None
    right: bool | None = None
    nodes: tuple[tuple[int, bool], ...] = ()
    """Nodes that were called right or wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """An answer that a search came to."""

    node: int
    text: str


def read_traces(source: Source, dropped: Counter[str]) -> Iterator[Trace]:
    """All traces, oldest first; those that cannot be read are counted in `dropped`.

    Raises:
        TrainingError: there are none.
    """
    for line in source.traces():
        try:
            yield Trace.model_validate_json(line)
        except ValidationError:
            dropped["a line that cannot be read"] += 1


def read_feedback(source: Source) -> dict[str, Feedback]:
    """The last feedback on each trace and on each of its nodes, by trace; torn lines are passed over."""
    last: dict[str, dict[int | None, dict[str, Any]]] = {}
    for line in source.feedback():
        try:
            row = json.loads(line)
            last.setdefault(row["trace_id"], {})[row.get("node")] = row
        except (ValueError, KeyError, TypeError):
            continue
    return {
        name: Feedback(
            reference=said.get(None, {}).get("reference"),
            right=said.get(None, {}).get("right"),
            nodes=tuple((n, row["right"]) for n, row in said.items() if n is not None and "right" in row),
        )
        for name, said in last.items()
    }


def path_text(nodes: Sequence[Node], node: Node) -> str | None:
    """The answer up to and with a node; None where it answers another prompt (a critique, a vote)."""
    parts: list[str] = []
    at: Node | None = node
    while at is not None:
        if at.kind in GROWN:
            parts.append(at.text or "")
        elif at.kind not in STAGES:
            return None
        at = None if at.parent is None else nodes[at.parent]
    return "".join(reversed(parts))


def leaves(trace: Trace) -> list[Leaf]:
    """The answers that the model ended of its own accord, in the order of their nodes; copies stay."""
    grown = [node for node in trace.nodes if node.kind in GROWN]
    continued = {node.parent for node in grown}
    ended = [node for node in grown if node.finish == "stop" and node.id not in continued]
    texts = [(node.id, path_text(trace.nodes, node)) for node in ended]
    return [Leaf(node=node, text=text) for node, text in texts if text is not None and text.strip()]
