"""The key of administrators that is given by the environment, and what a request shows of a key."""

from __future__ import annotations

import hmac
import os

from fastapi import Request

from mull.errors import InvalidRequest


class Unauthorized(InvalidRequest):
    """No key, or not one of ours."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(InvalidRequest):
    """The key does not allow this, or nothing does."""

    status = 403
    type = "permission_error"
    code = "admin_key_required"


def bearer(request: Request) -> bytes | None:
    """The key that a request shows (Anthropic's clients have a header of their own); None for none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    shown = key if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    return shown.strip().encode() or None


class Admin:
    """The administrators' key.

    Args:
        variable: Environment variable with their key. Without it there is none.
    """

    def __init__(self, variable: str) -> None:
        self.variable = variable
        self._key = os.environ.get(variable, "").encode()

    @property
    def configured(self) -> bool:
        """Whether there is such a key."""
        return bool(self._key)

    def is_key(self, given: bytes | None) -> bool:
        """Whether a key is the administrators', found out in constant time."""
        return self.configured and hmac.compare_digest(given or b"", self._key)
