"""Whether the engines answer, for those who watch."""

from __future__ import annotations

import asyncio
import time

from mull.server.backend import Backend
from mull.server.metrics import Metrics

FRESH = 5.0
"""Seconds for which an answer holds: however many ask, engines are asked no more often."""


class EngineHealth:
    """Keeps `mull_engine_up` true.

    Args:
        backend: Whose engines.
        metrics: Where it is told.
    """

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self._asking = asyncio.Lock()
        self._asked: float | None = None

    async def refresh(self) -> None:
        """Ask the engines, unless they have just been asked."""
        async with self._asking:
            now = time.monotonic()
            if self._asked is not None and now - self._asked < FRESH:
                return
            for name, healthy in (await self._backend.healthy_models()).items():
                self._metrics.engine_up.labels(name).set(healthy)
            self._asked = now
