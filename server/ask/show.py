"""A completion on the terminal. Text of a model is never taken for markup or for terminal control."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_BRANCH = "grey42"


def printable(text: str) -> str:
    """The text with control characters (all but tab and newline) and bidirectional overrides spelled out."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def summary(completion: Mapping[str, Any]) -> str:
    """One line about what an answer cost and how it was found."""
    usage, ttc = completion.get("usage") or {}, completion.get("ttc") or {}
    parts = [ttc["strategy"]] if "strategy" in ttc else []
    if fallback := ttc.get("fallback"):
        parts.append(f"fell back to {fallback['strategy']}: {fallback['unavailable']} is down")
    if ttc.get("answer") is not None:
        parts.append(f"answer {ttc['answer']}")
    if ttc.get("confidence") is not None:
        parts.append(f"confidence {ttc['confidence']:.2f}")
    parts.append(f"{usage.get('completion_tokens', 0)} tokens generated")
    if ttc.get("engine_calls"):
        parts.append(f"{ttc['engine_calls']} engine call{'s' if ttc['engine_calls'] > 1 else ''}")
    if ttc.get("verifier_calls"):
        parts.append(f"{ttc['verifier_tokens']} verifier tokens")
    if "seconds" in ttc:
        parts.append(f"{ttc['seconds']:.2f} s")
    if ttc.get("stopped", "complete") != "complete":
        parts.append(f"stopped by {ttc['stopped']}")
    return printable(" · ".join(map(str, parts)))


def tree(ttc: Mapping[str, Any]) -> Tree:
    """The search: a line a node with score and tokens; what led to the answer bold, what was given up dim."""
    nodes: Sequence[Mapping[str, Any]] = ttc["trace"]
    best = ttc["candidates"][0]["node"] if ttc.get("candidates") else None
    chosen = _path(nodes, best)
    root = Tree(Text(str(ttc["strategy"]), style="bold"), guide_style=_BRANCH)
    branches = {0: root}
    for node in nodes[1:]:
        line = _line(node, chosen=node["id"] in chosen, best=node["id"] == best)
        branches[node["id"]] = branches[node["parent"]].add(line)
    return root


def _path(nodes: Sequence[Mapping[str, Any]], node: int | None) -> set[int]:
    """A node and its ancestors."""
    path = set()
    while node is not None:
        path.add(node)
        node = nodes[node]["parent"]
    return path


def _line(node: Mapping[str, Any], *, chosen: bool, best: bool) -> Text:
    """A node in one line; `chosen` is on the way to the answer, `best` its end."""
    data, score = node["data"], node["score"]
    given_up = node["kind"] == "cancelled" or data.get("pruned") or data.get("merged")
    line = Text(no_wrap=True, overflow="ellipsis", style="bold" if chosen else "dim" if given_up else "")
    if score is not None:
        line.append(f"{score:.2f} ", style="green" if score >= 0.8 else "yellow" if score >= 0.4 else "red")
    line.append(f"{node['tokens']:>3} tok ", style="cyan")
    if node["kind"] == "cancelled":
        line.append("cancelled ", style="italic")
    for name, value in data.items():
        line.append(f"{name} " if value is True else f"{name}={value} ", style="italic")
    if node["finish"] == "length":
        line.append("cut off ", style="italic red")
    line.append(printable(" ⏎ ".join(node["text"].strip().splitlines())))
    return line.append(" ← answer", style="green") if best else line
