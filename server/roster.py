"""Which servers have a model: as the configuration says, as a file says just now, or as DNS does."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from urllib.parse import urlsplit

from mull.engines.addresses import addresses
from mull.engines.pool import Pool
from mull.engines.remote import RemoteGenerator
from mull.engines.replica import Replica
from mull.errors import EngineUnavailable, MullError
from mull.server.settings import ConfigurationError, ModelSettings

log = logging.getLogger(__name__)

FILE, NAME = 1.0, 3.0
"""Seconds between readings of a file, and between resolutions of a name."""

FIRST, LONGEST = 0.5, 10.0
"""Seconds between attempts to connect to a server that does not answer."""

KEY = secrets.token_bytes(16)
"""Of the labels: who does not have it cannot find out addresses by trying all."""

Connect = Callable[[str], Awaitable[RemoteGenerator]]


class Roster:
    """Keeps a pool to the servers that there are.

    Args:
        pool: Whose replicas they are.
        model: Where they are found.
        connect: Connects to one.
    """

    def __init__(self, pool: Pool, model: ModelSettings, connect: Connect) -> None:
        self._pool = pool
        self._model = model
        self._connect = connect
        self._joining: dict[str, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect to at least one server.

        Raises:
            ConfigurationError: the file of addresses cannot be read.
            EngineUnavailable: none of the configured servers answers; those that come and go are waited for.
        """
        static = [] if self._model.discover else self._model.servers
        if not static:
            if self._model.urls_file is not None:
                await self._addresses()
            self._following = asyncio.create_task(self._follow(), name="follow servers")
            await self._pool.peopled.wait()
            return
        results = await asyncio.gather(*(self._join(url) for url in static), return_exceptions=True)
        failed = {url: error for url, error in zip(static, results, strict=True) if error is not None}
        if not self._pool.replicas:
            raise next(iter(failed.values()))
        for url, error in failed.items():
            log.error("replica %s of %s is not there yet: %s", _name(url), self._pool.model, error)
            self._keep_joining(url)

    async def close(self) -> None:
        """Follow the servers no more."""
        tasks = [*self._joining.values(), *([self._following] if self._following else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        seconds, trouble = NAME if self._model.discover else FILE, ""
        while True:
            try:
                self._keep_to(await self._addresses())
                trouble = ""
            except Exception as error:
                # What cannot be read or resolved just now says nothing about the servers.
                if trouble != str(error):
                    log.warning("servers of %s: %s", self._pool.model, error)
                trouble = str(error)
            await asyncio.sleep(seconds)

    def _keep_to(self, addresses: list[str]) -> None:
        wanted = {_name(url): url for url in addresses}
        for name in [name for name in self._joining if name not in wanted]:
            self._joining.pop(name).cancel()
        present = {replica.name for replica in self._pool.replicas}
        for replica in self._pool.replicas:
            if replica.name in wanted:
                self._pool.keep(replica.name)
            elif not replica.draining:
                log.warning(
                    "replica %s of %s is no longer listed: it is drained", replica.name, self._pool.model
                )
                self._pool.drain(replica.name)
        for name, url in wanted.items():
            if name not in present and name not in self._joining:
                self._keep_joining(url)

    def _keep_joining(self, url: str) -> None:
        async def join() -> None:
            pause = FIRST
            while True:
                try:
                    await self._join(url)
                except (MullError, ValueError) as error:
                    if not isinstance(error, EngineUnavailable):
                        log.error("%s cannot join: %s", self._pool.model, error)
                    await asyncio.sleep(pause)
                    pause = min(LONGEST, 2 * pause)
                else:
                    self._joining.pop(_name(url), None)
                    return

        self._joining[_name(url)] = asyncio.create_task(join(), name=f"join {_name(url)}")

    async def _join(self, url: str) -> None:
        engine = await self._connect(url)
        try:
            self._pool.add(Replica(_name(url), engine, engine.close, label=_label(url)))
        except ValueError:
            await engine.close()
            raise
        log.info("replica %s of %s is there, as %s in /metrics", _name(url), self._pool.model, _label(url))

    async def _addresses(self) -> list[str]:
        if self._model.urls_file is not None:
            try:
                text = await asyncio.to_thread(self._model.urls_file.read_text)
            except (OSError, UnicodeError) as error:
                raise ConfigurationError(f"urls_file: {error}") from None
            lines = [line.strip() for line in text.splitlines()]
            return [line for line in lines if _is_address(line)]
        return await addresses(self._model.url or "")


def _is_address(line: str) -> bool:
    try:
        parts = urlsplit(line)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _label(url: str) -> str:
    """Metrics are open to all who reach the port: they tell replicas apart without saying where they are."""
    return blake2b(_name(url).encode(), digest_size=4, key=KEY).hexdigest()


def _name(url: str) -> str:
    parts = urlsplit(url.rstrip("/").removesuffix("/v1"))
    scheme = "" if parts.scheme == "http" else f"{parts.scheme}://"
    return scheme + parts.netloc.rpartition("@")[2] + parts.path
