"""Which keys open the API, and whom they stand for."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from fastapi import Request
from pydantic import SecretStr

from mull.server.admin import Admin, Unauthorized, bearer
from mull.server.callers import STATE, Caller, known_caller, owner_of


class Keys:
    """Lets users pass and notes who they are: see `mull.server.callers.caller_of`.

    Args:
        keys: Accepted API keys; none: open to all.
        admin: Knows the administrators' key.
    """

    def __init__(self, keys: Sequence[SecretStr], admin: Admin) -> None:
        known = [key.get_secret_value().encode() for key in keys]
        self._keys = {key: Caller(owner=owner_of(key)) for key in known}
        self._admin = admin

    @property
    def configured(self) -> bool:
        """Whether there are keys, so that users can be told apart."""
        return bool(self._keys)

    async def user(self, request: Request) -> None:
        """Let requests with an API key pass.

        Raises:
            Unauthorized: there is none, or another one.
        """
        # What the server asks itself comes with its caller: the line of a batch with who made the batch.
        if known_caller(request.scope) is None:
            setattr(request.state, STATE, self._user(bearer(request)))

    async def user_or_admin(self, request: Request) -> None:
        """Let requests with an API key or the administrators' key pass.

        Raises:
            Unauthorized: there is none, or another one.
        """
        key = bearer(request)
        caller = Caller(admin=True) if self._admin.is_key(key) else self._user(key)
        setattr(request.state, STATE, caller)

    def _user(self, key: bytes | None) -> Caller:
        if not self._keys:
            return Caller()
        # All keys are compared, each in constant time: the answer's delay says nothing about any of them.
        found = [caller for known, caller in self._keys.items() if hmac.compare_digest(key or b"", known)]
        if not found:
            raise Unauthorized("a valid API key is needed: Authorization: Bearer <key>")
        return found[0]
