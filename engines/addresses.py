"""The servers behind a name."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit


async def addresses(url: str) -> list[str]:
    """The URL with each address that its host resolves to in the host's place, in order.

    Raises:
        OSError: the name cannot be resolved.
    """
    parts = urlsplit(url)
    port = parts.port or 80
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    hosts = {f"[{at[0]}]" if family == socket.AF_INET6 else str(at[0]) for family, *_, at in found}
    return [f"http://{host}:{port}{parts.path}" for host in sorted(hosts)]
