"""How a request is refused that the server has no room for."""

from __future__ import annotations

from mull.errors import MullError, Unavailable


class Overloaded(Unavailable):
    """The server has no room, for anybody."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after: float, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class LimitReached(MullError):
    """The key has used up what it may."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: float, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class ShuttingDown(Unavailable):
    """The server takes nothing new."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the server is shutting down")
