"""What each key uses of the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from mull.server.callers import Caller, KeyLimits
from mull.server.queueing.bucket import Bucket
from mull.server.queueing.errors import LimitReached

SHARES = {"high": 4.0, "normal": 1.0, "low": 0.25}
"""Parts of a busy server by priority, in relation to one another."""
BATCH_SHARE = 1 / 16
"""A batch's part of its key's share: it gets what others leave, and a little always."""
LONGEST = 60.0
"""Seconds after which a client is told to come again, at most."""


class Account:
    """One key's requests and tokens.

    Args:
        caller: Its holder.
        clock: Seconds.
    """

    def __init__(self, caller: Caller, clock: Callable[[], float]) -> None:
        self.owner = caller.owner
        self.name = caller.name
        self.limits = KeyLimits()
        self.requests = 0
        self.refused = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._clock = clock
        self._present: Counter[str] = Counter()
        self._bucket: Bucket | None = None
        self._seconds = 1.0

    def update(self, caller: Caller) -> None:
        """Take over what the key allows now."""
        self.name, self.limits = caller.name, caller.limits
        rate = caller.limits.tokens_per_minute
        if rate is None:
            self._bucket = None
        elif self._bucket is None or self._bucket.per_minute != rate:
            self._bucket = Bucket(rate, self._clock)

    def present(self, request: str) -> bool:
        """Whether a part of this request is there already."""
        return request in self._present

    def check(self, cost: float) -> None:
        """Whether the key may begin another request.

        Raises:
            LimitReached: it has as many as it may, or has generated too much.
        """
        most = self.limits.concurrent
        if most is not None and len(self._present) >= most:
            raise LimitReached(
                f"this key may have {most} requests at a time",
                retry_after=min(LONGEST, self._seconds / most),
                code="concurrency_limit_exceeded",
            )
        if wait := self.wait(cost):
            raise LimitReached(
                f"this key may generate {self.limits.tokens_per_minute} tokens a minute; its requests so far "
                "have used them up",
                retry_after=wait,
                code="token_rate_limit_exceeded",
            )

    def wait(self, cost: float) -> float:
        """Seconds until the key's token rate allows a request of this cost."""
        return 0.0 if self._bucket is None else self._bucket.wait(cost)

    def enter(self, request: str, cost: float, *, batch: bool) -> None:
        """A request, or a part of one, comes in; a batch's does not count with the requests at a time."""
        if not self.present(request):
            self.requests += 1
        if not batch:
            self._present[request] += 1
        self._take(cost)

    def leave(self, request: str, expected: float, *, prompt: int, completion: int, seconds: float) -> None:
        """It is over, whatever way it ended."""
        self._present[request] -= 1
        if self._present[request] <= 0:
            del self._present[request]
        self._take(completion - expected)
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        self._seconds += 0.1 * (seconds - self._seconds)

    def to_dict(self) -> dict[str, Any]:
        """The account as it is shown."""
        left = None if self._bucket is None else int(self._bucket.level)
        return {
            "object": "ttc.usage",
            "key": self.name,
            "requests": self.requests,
            "refused": self.refused,
            "running": len(self._present),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "tokens_left": left,
            "limits": self.limits.model_dump(),
        }

    def _take(self, tokens: float) -> None:
        if self._bucket is not None:
            self._bucket.take(tokens)


def share_of(caller: Caller) -> float:
    """A caller's part of a busy server."""
    share = SHARES[caller.limits.priority]
    return share if caller.batch is None else share * BATCH_SHARE
