"""One question to a server, and what of its answer is printed where."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from mull.server.ask import show
from mull.server.ask.client import Client


def solve(
    client: Client, body: dict[str, Any], console: Console, *, live: bool | None = None
) -> dict[str, Any]:
    """The server's chat completion.

    Args:
        client: The server.
        body: The request.
        console: Where the search is shown while it runs.
        live: Whether it is; None: on a terminal.

    Raises:
        Failure: nobody answers, or the server refuses.
    """
    if live is None:
        live = console.is_terminal and not console.is_dumb_terminal
    if live:
        from mull.server.ask.live import watch

        return watch(client, body, console)
    with console.status("thinking"):
        return client.complete(body)


def print_answer(completion: Mapping[str, Any]) -> None:
    """The answer alone, to standard output; as it is where no terminal could be harmed."""
    answer = (completion["choices"][0]["message"].get("content") or "").rstrip("\n")
    typer.echo(show.printable(answer) if sys.stdout.isatty() else answer)


def print_cost(completion: Mapping[str, Any], console: Console) -> None:
    """One line about how the answer was found."""
    console.print(Text(show.summary(completion), style="dim"), soft_wrap=True)


def print_tree(ttc: Mapping[str, Any]) -> None:
    """The whole search, and its votes where there were any, to standard output."""
    out = Console(highlight=False)
    candidates = ttc.get("candidates") or []
    best = candidates[0]["node"] if candidates else None
    out.print(show.tree(ttc["trace"], str(ttc["strategy"]), best=best))
    if len(votes := show.counted(candidates)) > 1:
        out.print(show.votes(votes))
    out.print()
