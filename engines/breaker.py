"""A circuit breaker: what keeps failing is left alone for a while (Nygard, Release It!, 2007)."""

from __future__ import annotations

import time
from collections.abc import Callable

THRESHOLD = 3
"""Failures in a row, without a success between, at which it opens."""

FIRST, LONGEST = 0.5, 30.0
"""Seconds that it stays open at first, and at most: twice as long each time."""


class Breaker:
    """Whether something may be called. Requests that were under way together fail together: as one failure.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._last = self._until = -float("inf")

    @property
    def open(self) -> bool:
        """Whether it is to be left alone."""
        return self._clock() < self._until

    @property
    def seconds(self) -> float:
        """Seconds that it stays open."""
        return max(0.0, self._until - self._clock())

    def succeeded(self) -> None:
        """A call has ended well."""
        self._failures, self._until = 0, -float("inf")

    def failed(self, began: float) -> None:
        """A call has failed that began at this time of the clock."""
        if began < self._last:
            return
        self._last = self._clock()
        self._failures += 1
        if self._failures >= THRESHOLD:
            self._until = self._last + min(LONGEST, FIRST * 2.0 ** (self._failures - THRESHOLD))
