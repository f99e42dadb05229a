"""The command from end to end: look, show, wait, again."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import count

from rich.console import Console

from mull.server.ask.client import Client
from mull.server.commands.common import print_json
from mull.server.exits import Failure
from mull.server.top.picture import Picture, look
from mull.server.top.show import show


def top(client: Client, admin: Client, *, interval: float, once: bool, as_json: bool) -> None:
    """Show a server until interrupted, or once; where there is no terminal, once.

    Raises:
        Failure: nobody answers at first, or what answers is no mull server.
    """
    console = Console(highlight=False)
    picture = look(client, admin)
    if once or not (as_json or console.is_terminal):
        time.sleep(interval)  # how fast tokens come takes two looks
        picture = look(client, admin, picture)
        if as_json:
            print_json(asdict(picture))
        else:
            console.print(show(picture, client.url))
        return
    try:
        if as_json:
            while True:
                time.sleep(interval)
                picture = _again(client, admin, picture)
                print_json(asdict(picture), line=True)
        else:
            _watch(client, admin, picture, console, interval)
    except KeyboardInterrupt:
        return  # how one leaves it


def _watch(client: Client, admin: Client, picture: Picture, console: Console, interval: float) -> None:
    from rich.live import Live

    with Live(console=console, screen=True, auto_refresh=False) as live:
        for _ in count():
            live.update(show(picture, client.url), refresh=True)
            time.sleep(interval)
            picture = _again(client, admin, picture)


def _again(client: Client, admin: Client, before: Picture) -> Picture:
    """Another look; a server that is gone for a while is shown as such."""
    try:
        return look(client, admin, before)
    except Failure as failure:
        return Picture(at=time.time(), ready=False, problem=failure.message)
