"""An engine that is started again when it dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from mull.engines.tasks import uninterrupted
from mull.errors import EngineUnavailable

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

log = logging.getLogger(__name__)

WATCH = 0.2
"""Seconds between looks at the engine."""

SETTLED = 60.0
"""Seconds after which an engine that was started again counts as well."""

LONGEST = 30.0
"""Seconds between two attempts, at most."""

PATIENCE = 20.0
"""Seconds that requests wait for an engine that is being started again."""


class Supervised:
    """Stands for the vLLM engine that runs, whichever that is: all else is the engine's own.

    What the dead one was working on fails; `revived` tells when to ask again.

    Args:
        name: What to call it.
        engine: The first one.
        start: Starts the next one.
        stop: Ends a dead one, once all its requests have been told.
    """

    def __init__(
        self,
        name: str,
        engine: AsyncLLM,
        *,
        start: Callable[[], Awaitable[AsyncLLM]],
        stop: Callable[[AsyncLLM], Coroutine[Any, Any, None]],
    ) -> None:
        self.restarts = 0
        """How often it was started again."""
        self.name = name
        self._engine = engine
        self._start = start
        self._stop = stop
        self._runs = asyncio.Event()
        self._runs.set()
        self._watching = asyncio.create_task(self._watch(), name=f"watch {name}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def revived(self) -> bool:
        """Wait until it runs; whether it does."""
        if self._engine.errored:
            self._runs.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._runs.wait()
        except TimeoutError:
            return False
        return True

    async def release(self) -> AsyncLLM:
        """Watch it no more: the engine that runs now is the caller's to end."""
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        return self._engine

    async def _replace(self) -> None:
        self._engine = await self._start()

    async def _watch(self) -> None:
        pause, started = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(WATCH)
            if not self._engine.errored:
                continue
            self._runs.clear()
            log.error("the engine %s died; it is started again", self.name)
            try:
                await uninterrupted(self._stop(self._engine))
            except Exception:
                log.exception("the remains of the engine %s cannot be ended", self.name)
            if time.monotonic() - started > SETTLED:
                pause = 0.0
            while True:
                await asyncio.sleep(pause)
                pause = min(LONGEST, max(1.0, 2 * pause))
                try:
                    await uninterrupted(self._replace())
                except EngineUnavailable as error:
                    log.error("the engine %s does not start: %s", self.name, error)
                except Exception:
                    log.exception("the engine %s does not start", self.name)
                else:
                    break
            started = time.monotonic()
            self.restarts += 1
            self._runs.set()
            log.warning("the engine %s runs again", self.name)
