"""A completion on the terminal. Text of a model is never taken for markup or for terminal control."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BRANCH = "grey42"

Node = Mapping[str, Any]


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


def tree(nodes: Iterable[Node], title: str, *, best: int | None = None) -> Tree:
    """The search: a line a node with score and tokens; what led to the answer bold, what was given up dim.

    Args:
        nodes: In the order of their ids; one whose parent is not among them hangs on the root.
        title: Of the root.
        best: The node that is the answer, once it is known.
    """
    known = {node["id"]: node for node in nodes}
    chosen = _path(known, best)
    root = Tree(Text(printable(title), style="bold"), guide_style=_BRANCH)
    branches: dict[int, Tree] = {}
    for id, node in known.items():
        if node["parent"] is not None:
            line = _line(node, chosen=id in chosen, best=id == best)
            branches[id] = branches.get(node["parent"], root).add(line)
    return root


def votes(counted: Sequence[tuple[str, float]]) -> Table:
    """Answers with a bar each."""
    table = Table.grid(padding=(0, 1))
    table.add_column(max_width=30, no_wrap=True, overflow="ellipsis", justify="right")
    table.add_column(width=30)
    table.add_column(justify="right")
    most = max((votes for _, votes in counted), default=0)
    for i, (answer, votes) in enumerate(counted):
        style = "green" if i == 0 else "cyan"
        bar = ProgressBar(total=most or 1, completed=votes, complete_style=style, finished_style=style)
        table.add_row(Text(printable(answer)), bar, f"{votes:g}")
    return table


def counted(candidates: Iterable[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """The votes of a finished search: answer and votes, most first; nothing where nobody voted."""
    found = {c["answer"]: c["votes"] for c in candidates if c.get("answer") and c.get("votes")}
    return sorted(found.items(), key=lambda pair: -pair[1])


def _path(nodes: Mapping[int, Node], node: int | None) -> set[int]:
    """A node and its ancestors."""
    path = set()
    while node is not None and node in nodes:
        path.add(node)
        node = nodes[node]["parent"]
    return path


def _line(node: Node, *, chosen: bool, best: bool) -> Text:
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
        line.append(printable(f"{name} " if value is True else f"{name}={value} "), style="italic")
    if node["finish"] == "length":
        line.append("cut off ", style="italic red")
    line.append(printable(" ⏎ ".join(node["text"].strip().splitlines())))
    return line.append(" ← answer", style="green") if best else line
