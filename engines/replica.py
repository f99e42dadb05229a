"""One of several engines that serve the same model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from mull.engines.breaker import Breaker
from mull.engines.connection import Busy
from mull.engines.sampler import Sampler
from mull.errors import EngineUnavailable, MullError

log = logging.getLogger(__name__)

ANSWERING = 5.0
"""Seconds that a replica has to say that it is well."""

MISSED = 3
"""Times in a row that it may take longer, being busy, until it counts as down."""


class Replica:
    """An engine, whether it is well, and what it works on.

    Args:
        name: Which one it is, the same wherever its pool is known.
        engine: The engine.
        close: Called when it has been taken out of its pool and nothing runs on it any more.
        label: What strangers may know it by; its name by default.
    """

    def __init__(
        self,
        name: str,
        engine: Sampler,
        close: Callable[[], Awaitable[None]] | None = None,
        *,
        label: str | None = None,
    ) -> None:
        self.name = name
        self.label = label or name
        self.engine = engine
        self.close = close
        self.up = True
        """Whether it said so when it was last asked."""
        self.lives = 0
        """How often it came back."""
        self.draining = False
        """Whether it ends what it has and gets nothing new."""
        self.in_flight = 0
        self.breaker = Breaker()
        self.changed = asyncio.Event()
        """Set whenever it comes or goes."""
        self.idle = asyncio.Event()
        self.idle.set()
        self._missed = 0
        self._looking: asyncio.Task[None] | None = None

    @property
    def there(self) -> bool:
        """Whether it can be asked."""
        return self.up and not self.draining

    @property
    def serves(self) -> bool:
        """Whether it gets requests as long as others do."""
        return self.there and not self.breaker.open

    @property
    def hopeful(self) -> bool:
        """Whether it may come back."""
        return not self.up and not self.draining

    @contextmanager
    def working(self) -> Iterator[None]:
        """While it works on a request, which tells how well it is."""
        began = time.monotonic()
        try:
            with self.used():
                yield
        except EngineUnavailable:
            self.breaker.failed(began)
            raise
        else:
            self.breaker.succeeded()

    @contextmanager
    def used(self) -> Iterator[None]:
        """While it is asked for something: it is not let go of meanwhile."""
        self.in_flight += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()

    async def look(self) -> None:
        """Ask it how it is; those who ask at once get one answer."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name=f"look at {self.name}")
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(ANSWERING):
                await self.engine.check()
        except TimeoutError:
            self._missed += 1
            self._note(self.up and self._missed < MISSED, "it does not say how it is")
        except Busy:
            self._note(True, "")
        except MullError as error:
            self._note(False, error.message)
        else:
            self._missed = 0
            self._note(True, "")

    def _note(self, up: bool, why: str) -> None:
        if up != self.up:
            self.changed.set()
        if up and not self.up:
            self.lives += 1
            log.warning("replica %s of %s is back", self.name, self.engine.model)
        elif self.up and not up:
            log.error("replica %s of %s is down: %s", self.name, self.engine.model, why)
        self.up = up
