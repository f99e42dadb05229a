"""What the shell completes. A server is asked for its names, but not waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mull.server.ask.client import Client

SECONDS = 1.0
"""How long a server may take to name what it has."""


def strategies(incomplete: str) -> list[str]:
    """Names of strategies, those of installed plugins too."""
    from mull.strategies.registry import STRATEGIES

    return [name for name in STRATEGIES.names() if name.startswith(incomplete)]


def models(ctx: Any, incomplete: str) -> list[str]:
    """Names of the server's models; those with a strategy once there is a `+`."""
    found = _ask(ctx, lambda client: client.models())
    return [name for name in found if name.startswith(incomplete) and ("+" in incomplete or "+" not in name)]


def verifiers(ctx: Any, incomplete: str) -> list[str]:
    """Names of the server's verifiers."""
    found = _ask(ctx, lambda client: [row["name"] for row in client.get("/ttc/verifiers")["data"]])
    return [name for name in found if name.startswith(incomplete)]


def _ask(ctx: Any, names: Callable[[Client], list[str]]) -> list[str]:
    from mull.server.ask.client import Client
    from mull.server.commands.common import LOCAL
    from mull.server.exits import Failure

    url = ctx.params.get("url") or os.environ.get("MULL_URL") or LOCAL
    key = ctx.params.get("api_key") or os.environ.get("MULL_API_KEY")
    try:
        return names(Client(url=url, api_key=key, timeout=SECONDS))
    except (Failure, LookupError, TypeError):
        return []
