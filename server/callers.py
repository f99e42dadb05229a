"""Who sends a request, as far as it matters for what he may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from fastapi import Request

STATE = "caller"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The sender of a request."""

    owner: str | None = None
    """Whose the request is: a digest of the API key; None where no keys are configured."""
    admin: bool = False
    batch: str | None = None
    """The batch whose line the request is; None for what somebody waits for."""

    def may_read(self, owner: str | None) -> bool:
        """Whether what belongs to `owner` is open to this caller."""
        return self.admin or owner == self.owner


def owner_of(key: bytes) -> str:
    """What stands for an API key wherever it is kept: the key cannot be read off it."""
    return sha256(b"mull owner\0" + key).hexdigest()[:32]


def caller_of(request: Request) -> Caller:
    """Who sent a request that has passed `mull.server.keys`."""
    return known_caller(request.scope) or Caller()


def known_caller(scope: Mapping[str, Any]) -> Caller | None:
    """The caller noted in a request's ASGI scope, which nobody can set from outside; None before that."""
    found = scope.get("state", {}).get(STATE)
    return found if isinstance(found, Caller) else None
