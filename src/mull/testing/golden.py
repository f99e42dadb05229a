"""Search trees as plain data that does not depend on what finished first."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from mull.trace import Node, Trace


def tree(trace: Trace) -> dict[str, Any]:
    """The trace as nested nodes, siblings in an order of their own contents.

    Node numbers, times, cancelled calls and what was begun in vain depend on timing: they are left out.
    """
    children: dict[int, list[Node]] = defaultdict(list)
    for node in trace.nodes[1:]:
        if node.kind != "cancelled" and not node.data.get("vain"):
            children[node.parent or 0].append(node)

    def nested(node: Node) -> dict[str, Any]:
        below = sorted((nested(c) for c in children[node.id]), key=lambda c: json.dumps(c, sort_keys=True))
        shown: dict[str, Any] = {"kind": node.kind, "text": node.text, "tokens": node.tokens}
        if node.finish is not None:
            shown["finish"] = node.finish
        if node.score is not None:
            shown["score"] = round(node.score, 6)
        if node.data:
            shown["data"] = dict(node.data)
        if "parents" in node.data:
            # What a node was made from besides its parent is named by the texts, not by the numbers.
            shown["data"]["parents"] = [trace.nodes[i].text for i in node.data["parents"]]
        return shown | ({"children": below} if below else {})

    return nested(trace.nodes[0])
