"""A rate of tokens, kept over time."""

from __future__ import annotations

from collections.abc import Callable


class Bucket:
    """A token bucket that may go into debt: what a request generates is known only when it has ended.

    It holds a minute's tokens. What a request is expected to cost is taken when it begins, and corrected by
    what it did cost when it ends. Over any time, no more is generated than the rate allows, two minutes'
    worth and the errors of the estimates apart.

    Args:
        per_minute: Tokens a minute.
        clock: Seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._filled = clock()

    @property
    def level(self) -> float:
        """Tokens that are left; negative: owed."""
        now = self._clock()
        # A clock that jumps back takes nothing away.
        self._level += max(0.0, now - self._filled) * self.per_minute / 60
        self._level, self._filled = min(self._level, self.per_minute), now
        return self._level

    def wait(self, expected: float) -> float:
        """Seconds until a request of this cost may begin; 0 for now.

        It may take the bucket a minute into debt. What costs more than that begins when the bucket is full.
        """
        needed = min(max(expected - self.per_minute, 1.0), float(self.per_minute))
        missing = needed - self.level
        return max(0.0, missing * 60 / self.per_minute)

    def take(self, tokens: float) -> None:
        """Take tokens out, or put some back that were not spent."""
        self._level = min(self.level - tokens, float(self.per_minute))
