"""`mull models`, `mull strategies`, `mull verifiers` and `mull top`: what a running server has and does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mull.server.commands.common import LOCAL, Key, Url, in_one_line, print_json

AsJson = Annotated[bool, typer.Option("--json", help="Print what the server says as JSON.")]


def models(
    everything: Annotated[
        bool, typer.Option("--all", help="Each one with every strategy and preset too.")
    ] = False,
    as_json: AsJson = False,
    url: Url = LOCAL,
    api_key: Key = None,
) -> None:
    """List the models of a running server, one a line."""
    listed = _get("/models", url, api_key)
    cards = [card for card in listed["data"] if everything or not card.get("parent")]
    if as_json:
        print_json({**listed, "data": cards})
        return
    for card in cards:
        typer.echo(card["id"])


def strategies(as_json: AsJson = False, url: Url = LOCAL, api_key: Key = None) -> None:
    """List the strategies of a running server: what they do, need and cost."""
    listed = _get("/ttc/strategies", url, api_key)
    if as_json:
        print_json(listed)
        return
    rows = []
    for card in listed["data"]:
        needs = card["needs"]
        kind = f"{needs['verifier']} verifier" if needs["verifier"] else ""
        other = [name for name in ("continues", "ends", "retriever") if needs.get(name)]
        cost = (card["cost"].get("at_most") or {}).get("generations")
        does = " ".join((card["description"] or "").partition("\n\n")[0].split())
        rows.append((card["name"], ", ".join(filter(None, [kind, *other])), str(cost or ""), does))
    table(("strategy", "needs", "generations", "what it does"), rows)


def verifiers(as_json: AsJson = False, url: Url = LOCAL, api_key: Key = None) -> None:
    """List the verifiers of a running server and whether they answer."""
    listed = _get("/ttc/verifiers", url, api_key)
    if as_json:
        print_json(listed)
        return
    rows = [
        (row["name"], row["kind"], "answers" if row["healthy"] else "down", str(row.get("version") or ""))
        for row in listed["data"]
    ]
    table(("verifier", "judges", "state", "version"), rows)


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.05, help="Seconds between two pictures.")] = 1.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each picture as one line of JSON, until interrupted.")
    ] = False,
    admin_key: Annotated[
        str | None,
        typer.Option(envvar="MULL_ADMIN_KEY", help="To see everybody's requests.", show_default=False),
    ] = None,
    url: Url = LOCAL,
    api_key: Key = None,
) -> None:
    """Watch a running server: requests, engines, verifiers, queue, tokens per second. Ctrl-C ends it."""
    from mull.server.ask.client import Client
    from mull.server.top.command import top

    with in_one_line():
        top(
            Client(url=url, api_key=api_key),
            Client(url=url, api_key=admin_key or api_key),
            interval=interval,
            once=once,
            as_json=as_json,
        )


def _get(path: str, url: str, api_key: str | None) -> dict[str, Any]:
    from mull.server.ask.client import Client

    with in_one_line():
        return Client(url=url, api_key=api_key).get(path)


def table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows: aligned on a terminal, with tabs for scripts."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mull.server.ask.show import printable

    console = Console(highlight=False)
    if not console.is_terminal:  # for scripts: a row is a line, a tab between two cells
        for cells in (titles, *rows):
            typer.echo("\t".join(printable(cell) for cell in cells))
        return
    table = Table(*titles, box=None, pad_edge=False, header_style="dim")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)
