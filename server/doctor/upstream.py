"""Servers that the configuration names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

import aiohttp

from mull.server.doctor.finding import Finding, fail, ok, warn
from mull.server.settings import Settings
from mull.verifiers.kinds import RemoteConfig

PATIENCE = 5.0
"""Seconds for a server to answer."""


async def look(settings: Settings) -> list[Finding]:
    """Ask all servers at once."""
    asked = []
    for name, model in settings.models.items():
        key = os.environ.get(model.api_key_env) if model.api_key_env else None
        wants = model.served_as or name
        roots = [url.rstrip("/").removesuffix("/v1") for url in model.servers]
        asked += [_ask(f"models.{name}", f"{root}/v1/models", key, wants=wants) for root in roots]
    for name, config in settings.verifiers.items():
        if isinstance(config, RemoteConfig):
            asked += [_ask(f"verifiers.{name}", url.rstrip("/") + "/health", None) for url in config.urls]
    return list(await asyncio.gather(*asked))


async def _ask(subject: str, url: str, key: str | None, *, wants: str | None = None) -> Finding:
    """One server's finding; `wants` is the model that it should list."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status in (401, 403):
                return fail(subject, f"{url} wants another key ({response.status})", "set api_key_env")
            if response.status != 200:
                return fail(subject, f"{url} answers {response.status}", "see the log of that server")
            told = await response.json(content_type=None) if wants is not None else {}
    except TimeoutError:
        return fail(subject, f"{url} does not answer within {PATIENCE:g} s", "start it, or correct the url")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return fail(subject, f"{url}: {type(error).__name__}", "start it, or correct the url")
    data = told.get("data") if isinstance(told, Mapping) else None
    names = [row.get("id") for row in data or () if isinstance(row, Mapping)]
    if wants is not None and wants not in names:
        remedy = (
            f"set served_as to one of {', '.join(map(str, names[:8]))}" if names else "see what it serves"
        )
        return warn(subject, f"{url} does not list {wants!r}", remedy)
    return ok(subject, f"{url} answers")
