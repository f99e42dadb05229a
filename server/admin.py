"""Who may administrate: read other people's requests, change what is served."""

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
    """Lets administrators pass.

    Args:
        variable: Environment variable with their key. Without it nobody passes.
    """

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._key = os.environ.get(variable, "").encode()

    async def authorize(self, request: Request) -> None:
        """Check a request's key, in constant time.

        Raises:
            Unauthorized: it shows none.
            Forbidden: it shows another one, or the server has no key for administrators.
        """
        if not self._key:
            raise Forbidden(
                f"administrative routes are closed: set the environment variable {self._variable} to a key "
                "and start the server again",
                code="admin_key_not_set",
            )
        given = bearer(request)
        if given is None:
            raise Unauthorized("the administrator's key is needed: Authorization: Bearer <key>")
        if not self.is_key(given):
            raise Forbidden("this key is not the administrator's")

    def is_key(self, given: bytes | None) -> bool:
        """Whether a key is the administrators', found out in constant time."""
        return bool(self._key) and hmac.compare_digest(given or b"", self._key)
