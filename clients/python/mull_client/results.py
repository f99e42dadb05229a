# ruff: noqa: RUF012 (pydantic copies defaults)
"""What comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from openai import BaseModel, OpenAIError
from openai.types.chat import ChatCompletion


class Candidate(BaseModel):
    """An answer that was considered."""

    text: str
    answer: str | None = None
    score: float | None = None
    votes: float | None = None
    finish_reason: str | None = None
    tokens: int = 0
    node: int = 0


class Node(BaseModel):
    """One thing that happened in a search; node 0 is its root."""

    id: int
    parent: int | None = None
    kind: str
    text: str
    tokens: int = 0
    finish: str | None = None
    score: float | None = None
    step_scores: list[float] = []
    usage: dict[str, int] = {}
    started: float = 0.0
    ended: float = 0.0
    data: dict[str, Any] = {}


class Tree(dict[int, Node]):
    """The nodes of a search by their ids."""

    def children(self, node: int = 0) -> list[Node]:
        """What was continued from a node."""
        return [child for child in self.values() if child.parent == node]

    def path(self, node: int) -> list[Node]:
        """The way from the root to a node."""
        found = [self[node]]
        while found[-1].parent is not None:
            found.append(self[found[-1].parent])
        return found[::-1]


class TTC(BaseModel):
    """How an answer was found; of a search that only begins, the first five fields."""

    trace_id: str
    strategy: str
    parameters: dict[str, Any] = {}
    verifier: str | None = None
    budget: dict[str, float | None] = {}
    answer: str | None = None
    score: float | None = None
    confidence: float | None = None
    stopped: str | None = None
    samples: int = 0
    engine_calls: int = 0
    verifier_calls: int = 0
    verifier_tokens: int = 0
    seconds: float = 0.0
    fallback: dict[str, str] | None = None
    candidates: list[Candidate] = []
    """Best first, with `include=["candidates"]`."""
    trace: list[Node] = []

    @property
    def tree(self) -> Tree:
        """The search, with `include=["trace"]` or from a stream; else empty."""
        return Tree({node.id: node for node in self.trace})


@dataclass(frozen=True, kw_only=True)
class Result:
    """An answer: its text, the SDK's completion with `usage`, and how it was found."""

    text: str
    completion: ChatCompletion
    ttc: TTC

    @classmethod
    def of(cls, completion: ChatCompletion, nodes: Iterable[Node] = ()) -> Result:
        """Read a completion; `nodes` are those that a stream told.

        Raises:
            OpenAIError: it does not come from a mull server.
        """
        found = (completion.model_extra or {}).get("ttc")
        if not found:
            raise OpenAIError("the answer has no `ttc`: is this a mull server?")
        ttc = TTC.construct(**found)
        ttc.trace = ttc.trace or list(nodes)
        return cls(text=completion.choices[0].message.content or "", completion=completion, ttc=ttc)
