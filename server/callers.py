"""Who sends a request: what he may read, and how much of the server he may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from fastapi import Request
from pydantic import Field

from mull.server.strict import Strict

STATE = "caller"

Priority = Literal["high", "normal", "low"]


class KeyLimits(Strict):
    """How much of the server the holder of a key may use."""

    concurrent: int | None = Field(None, ge=1, description="Requests at a time, waiting ones included.")
    tokens_per_minute: int | None = Field(None, ge=1, description="Generated tokens, hidden ones included.")
    priority: Priority = Field("normal", description="Its share of a busy server.")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The sender of a request."""

    owner: str | None = None
    """Whose the request is: a digest, of the key or of its holder's name; None where there are no keys."""
    name: str = "anonymous"
    """What metrics and administrators call the holder of the key."""
    admin: bool = False
    batch: str | None = None
    """The batch whose line the request is; None for what somebody waits for."""
    limits: KeyLimits = field(default_factory=KeyLimits)

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
