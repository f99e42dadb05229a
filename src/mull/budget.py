"""Hard limits on what one request may spend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

Limit = Literal["tokens", "seconds", "samples", "shutdown", "engine"]
"""What ended a run; `shutdown`: it was halted from outside; `engine`: its engine is gone."""


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

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        parent: Budget | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._clock = clock
        self._parent = parent
        self.started = clock()
        self.tokens = 0
        self.samples = 0
        self._reserved = 0
        self._settled = asyncio.Event()
        self.exhausted: Limit | None = None
        self.deadlines: set[asyncio.Timeout] = set()
        """The timeouts that end what runs now, of the whole budget."""
        self._halted: Limit | None = None

    def child(self, limits: Limits) -> Budget:
        """A part of this budget with limits of its own: what it spends, this one spends too."""
        return Budget(limits, clock=self._clock, parent=self)

    @property
    def whole(self) -> Budget:
        """The budget of which this one is a part, or this one."""
        return self if self._parent is None else self._parent.whole

    def halt(self, reason: Limit) -> None:
        """Let the deadline be now, for all of the run and whatever it does; `exhausted` says the reason."""
        whole = self.whole
        whole._halted = reason
        for deadline in whole.deadlines:
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self.started

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline (not below 0); None without one."""
        if self.whole._halted is not None:
            return 0.0
        own = None if self.limits.seconds is None else max(0.0, self.limits.seconds - self.seconds)
        return own if self._parent is None else _least(own, self._parent.seconds_left)

    @property
    def tokens_left(self) -> int | None:
        """Tokens neither spent nor reserved; None without a limit."""
        limit = self.limits.tokens
        own = None if limit is None else max(0, limit - self.tokens - self._reserved)
        return own if self._parent is None else _least(own, self._parent.tokens_left)

    @property
    def samples_left(self) -> int | None:
        """Generations that may still start; None without a limit."""
        own = None if self.limits.samples is None else max(0, self.limits.samples - self.samples)
        return own if self._parent is None else _least(own, self._parent.samples_left)

    @property
    def reserved(self) -> int:
        """Tokens promised to calls in flight."""
        return self._reserved if self._parent is None else max(self._reserved, self._parent.reserved)

    def exhaust(self, limit: Limit) -> None:
        """Note the first limit that stopped the run.

        A part that has spent its own share says nothing of the whole, unless that has nothing left either.
        """
        if limit == "seconds" and self.whole._halted is not None:
            limit = self.whole._halted
        self.exhausted = self.exhausted or limit
        parent = self._parent
        left = "seconds" if limit in ("shutdown", "engine") else limit
        if parent is not None and getattr(parent, f"{left}_left") == 0:
            parent.exhaust(limit)

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
        if self.limits.samples is not None:
            n = min(n, self.limits.samples - self.samples)
            if n <= 0:
                self.exhaust("samples")
                return 0, 0
        left = None if self.limits.tokens is None else self.limits.tokens - self.tokens - self._reserved
        if left is not None:
            if left < each and self._reserved:
                return 0, 0
            if left <= 0:
                self.exhaust("tokens")
                return 0, 0
            n, each = (min(n, left // each), each) if left >= each else (1, left)
        if self._parent is not None:
            n, each = self._parent.reserve(n, each)
            if n == 0 and self._parent.exhausted is not None:
                self.exhaust(self._parent.exhausted)
        self._reserved += n * each
        self.samples += n
        return n, each

    def settle(self, reserved: int, spent: int) -> None:
        """Replace a reservation of `reserved` tokens by the `spent` ones."""
        self._reserved -= reserved
        self.tokens += spent
        self._settled.set()
        self._settled = asyncio.Event()
        if self._parent is not None:
            self._parent.settle(reserved, spent)

    async def settled(self) -> None:
        """Wait until some call in flight gives back what it had reserved."""
        await (self._settled.wait() if self._parent is None else self._parent.settled())


Number = TypeVar("Number", int, float)


def _least(own: Number | None, other: Number | None) -> Number | None:
    """The smaller of two limits, None being none."""
    return own if other is None else other if own is None else min(own, other)
