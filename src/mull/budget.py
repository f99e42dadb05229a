"""Hard limits on what one request may spend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Limit = Literal["tokens", "seconds", "samples"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may spend at most; None is no limit."""

    tokens: int | None = None
    """Generated tokens, hidden and cancelled ones included."""
    seconds: float | None = None
    samples: int | None = None
    """Engine generations started."""


class Budget:
    """Counts what a run has spent and what it has promised to spend, never beyond the limits.

    Tokens are reserved before a call at the most it can generate and settled at what it did generate, so
    that concurrent calls cannot overspend together.
    """

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._clock = clock
        self.started = clock()
        self.tokens = 0
        self.samples = 0
        self._reserved = 0
        self._settled = asyncio.Event()
        self.exhausted: Limit | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self.started

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline (not below 0); None without one."""
        return None if self.limits.seconds is None else max(0.0, self.limits.seconds - self.seconds)

    @property
    def tokens_left(self) -> int | None:
        """Tokens neither spent nor reserved; None without a limit."""
        limit = self.limits.tokens
        return None if limit is None else max(0, limit - self.tokens - self._reserved)

    @property
    def samples_left(self) -> int | None:
        """Generations that may still start; None without a limit."""
        return None if self.limits.samples is None else max(0, self.limits.samples - self.samples)

    @property
    def reserved(self) -> int:
        """Tokens promised to calls in flight."""
        return self._reserved

    def exhaust(self, limit: Limit) -> None:
        """Note the first limit that stopped the run."""
        self.exhausted = self.exhausted or limit

    def reserve(self, n: int, each: int) -> tuple[int, int]:
        """Reserve up to `n` generations of at most `each` tokens.

        Returns:
            How many may start now and the token limit of each. `(0, 0)` when nothing fits now; if nothing
            is in flight either, the budget is exhausted. The last tokens go to one generation with a
            smaller limit.
        """
        if self.seconds_left == 0.0:
            self.exhaust("seconds")
            return 0, 0
        if self.samples_left is not None:
            n = min(n, self.samples_left)
            if n == 0:
                self.exhaust("samples")
                return 0, 0
        left = self.tokens_left
        if left is not None:
            if left < each and self._reserved:
                return 0, 0
            if left == 0:
                self.exhaust("tokens")
                return 0, 0
            n, each = (min(n, left // each), each) if left >= each else (1, left)
        self._reserved += n * each
        self.samples += n
        return n, each

    def settle(self, reserved: int, spent: int) -> None:
        """Replace a reservation of `reserved` tokens by the `spent` ones."""
        self._reserved -= reserved
        self.tokens += spent
        self._settled.set()
        self._settled = asyncio.Event()

    async def settled(self) -> None:
        """Wait until some call in flight gives back what it had reserved."""
        await self._settled.wait()
