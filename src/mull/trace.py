"""The record of a search: response detail, live picture, log and training data in one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mull.types import Finish, Score, Usage


@dataclass(frozen=True, kw_only=True)
class Node:
    """One thing that happened: a generation (or the root, id 0), with its score once there is one."""

    id: int
    parent: int | None
    kind: str
    text: str
    tokens: int = 0
    finish: Finish | None = None
    score: float | None = None
    step_scores: tuple[float, ...] = ()
    usage: Usage = field(default_factory=Usage)
    started: float = 0.0
    """Seconds since the start of the trace."""
    ended: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)
    """What else a strategy wants to keep (prior, visits, why it was pruned)."""

    def to_dict(self) -> dict[str, Any]:
        """The node as plain data for JSON."""
        return asdict(self)


Listener = Callable[[Node], None]


class Trace:
    """Append-only nodes; a node is told to listeners when added and again when scored or annotated."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self.nodes: list[Node] = [Node(id=0, parent=None, kind="root", text="")]
        self._listeners: list[Listener] = []

    def now(self) -> float:
        """Seconds since the start of the trace."""
        return self._clock() - self._start

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for each node from now on; returns a function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def add(
        self,
        *,
        parent: int,
        kind: str,
        text: str,
        started: float,
        tokens: int = 0,
        finish: Finish | None = None,
        usage: Usage | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> int:
        """Append a node that ends now; returns its id."""
        node = Node(
            id=len(self.nodes),
            parent=parent,
            kind=kind,
            text=text,
            tokens=tokens,
            finish=finish,
            usage=usage or Usage(),
            started=started,
            ended=self.now(),
            data=data or {},
        )
        self.nodes.append(node)
        self._tell(node)
        return node.id

    def score(self, node: int, score: Score, value: float | None = None) -> None:
        """Attach a verifier's score; `value` overrides it where the strategy aggregated the steps."""
        kept = score.value if value is None else value
        self._update(replace(self.nodes[node], score=kept, step_scores=score.steps))

    def annotate(self, node: int, **data: Any) -> None:
        """Add what a strategy decided about a node (`pruned=True`, `visits=12`)."""
        self._update(replace(self.nodes[node], data={**self.nodes[node].data, **data}))

    def _update(self, node: Node) -> None:
        self.nodes[node.id] = node
        self._tell(node)

    def _tell(self, node: Node) -> None:
        for listener in tuple(self._listeners):
            listener(node)

    def to_list(self) -> list[dict[str, Any]]:
        """All nodes as plain data, in order of their ids."""
        return [node.to_dict() for node in self.nodes]
