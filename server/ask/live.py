"""A search on the terminal while it runs: budget, votes, tree, and the answer as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mull.server.ask import show
from mull.server.ask.client import Client
from mull.server.ask.search import Node, Search

PER_SECOND = 8
MOST_VOTES = 5
"""Answers that are shown with a bar."""
TEXT = 6
"""Lines of the answer that are shown at least, if there is room."""


def watch(client: Client, body: dict[str, Any], console: Console) -> dict[str, Any]:
    """Ask, show the search on a console until it is over, and return the chat completion.

    Raises:
        Failure: nobody answers, or the server refuses.
    """
    ttc = body.get("ttc") or {}
    include = sorted({"candidates", *ttc.get("include", [])})
    asked = {**body, "ttc": {**ttc, "include": include, "progress": "nodes"}}
    search = Search()
    view = View(search)
    with (
        Live(
            console=console,
            get_renderable=lambda: view,
            refresh_per_second=PER_SECOND,
            transient=True,
            vertical_overflow="crop",
        ),
        closing(client.stream(asked)) as chunks,
    ):
        for chunk in chunks:
            search.tell(chunk)
    return search.completion()


class View:
    """One picture of a search, never higher than the terminal.

    Args:
        search: What to show.
    """

    def __init__(self, search: Search) -> None:
        self._search = search

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        search = self._search
        room = options.max_height if options.height is None else options.height
        nodes, plan, text = search.snapshot(), search.plan, search.texts.get(0, "")
        yield budget(plan.get("budget") or {}, nodes, search.seconds)
        room -= 2
        votes = search.votes()
        if len(votes) > 1:
            yield show.votes(votes[:MOST_VOTES])
            room -= min(len(votes), MOST_VOTES)
        answer = _tail(text, console, options.max_width, max(min(TEXT, room - 1), room - len(nodes) - 1))
        room -= len(answer)
        kept = newest(nodes, room - 2)
        title = " · ".join(filter(None, (plan.get("strategy"), plan.get("verifier")))) or "thinking"
        if nodes and room > 2:
            yield show.tree(kept, title)
            if len(kept) < len(nodes):
                yield Text(f"and {len(nodes) - len(kept)} before", style="dim")
        else:
            yield Text(show.printable(title), style="bold")
        yield from answer


def newest(nodes: Sequence[Node], most: int) -> list[Node]:
    """The newest nodes, each with all that it was continued from, at most so many together."""
    known = {node["id"]: node for node in nodes}
    kept: set[int] = set()
    for node in reversed(nodes):
        if len(kept) >= most:
            break
        path, at = [], known.get(node["id"])
        while at is not None and at["id"] not in kept:
            path.append(at["id"])
            at = None if at["parent"] is None else known.get(at["parent"])
        if len(kept) + len(path) <= most or not kept:
            kept.update(path[: max(most, 0)])
    return [known[id] for id in sorted(kept)]


def budget(limits: Mapping[str, float | None], nodes: Sequence[Node], seconds: float) -> Table:
    """What was spent, each with a bar where there is a limit."""
    spent = {
        "tokens": sum(_generated(node) for node in nodes),
        "samples": sum(node["parent"] is not None for node in nodes),
        "seconds": seconds,
    }
    line = Table.grid(padding=(0, 1))
    cells = list[Any]()
    for name, value in spent.items():
        shown = f"{value:.1f}" if name == "seconds" else f"{value:g}"
        if limit := limits.get(name):
            cells += [ProgressBar(total=limit, completed=min(value, limit), width=12)]
            shown += f"/{limit:g}"
        cells.append(Text(f"{shown} {name}  ", style="dim"))
    line.add_row(*cells)
    return line


def _generated(node: Node) -> int:
    """Tokens that were generated for a node, which may hold others too."""
    usage = node.get("usage")
    return int(usage["completion"] if usage else node["tokens"])


def _tail(text: str, console: Console, width: int, most: int) -> list[Text]:
    """The last lines of the answer so far."""
    if not text.strip() or most < 1:
        return []
    # Of a long text only what can fit is wrapped.
    lines = Text(show.printable(text[-most * width :].rstrip())).wrap(console, width)
    return list(lines[-most:])
