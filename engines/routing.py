"""Which replica gets a request: the one that has its prefix in the cache, unless others are idle."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar

from mull.types import Chat

OVER = 1.25
"""How far above the mean a replica's load may be."""

SPREAD = 16
"""Requests that a replica takes before any go elsewhere: so few cost an engine little more than one."""


class Loaded(Protocol):
    """Something that has work."""

    @property
    def name(self) -> str:
        """Its name, the same wherever it is known."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests that it works on."""
        ...


R = TypeVar("R", bound=Loaded)


def choose(replicas: Sequence[R], root: bytes, home: str | None = None) -> R:
    """The replica for a request.

    `home` has its prefix. Otherwise rendezvous hashing (Thaler and Ravishankar 1998) gives each conversation
    an order of replicas that others come and go without changing; the first in it that is not loaded far
    above the mean is taken (consistent hashing with bounded loads, Mirrokni et al. 2018).

    Args:
        replicas: Those that can be had, at least one.
        root: What all requests of one conversation have in common.
        home: The replica that computed the prompt, where it is known.
    """
    total = 1 + sum(replica.in_flight for replica in replicas)
    most = max(SPREAD, math.ceil(OVER * total / len(replicas)))
    free = [replica for replica in replicas if replica.in_flight < most]
    for replica in free:
        if replica.name == home:
            return replica
    # Where the bound is smaller than the load, the least loaded is below it.
    return max(free, key=lambda replica: blake2b(root + replica.name.encode(), digest_size=8).digest())


def root_of(chat: Chat) -> bytes:
    """What the turns of one conversation have in common: all up to the first question, and the tools."""
    if (bare := chat.bare) is not None:
        begin = bare.text[:256] if bare.ids is None else bare.ids[:64]
        return _digest(begin)
    first = next((at for at, message in enumerate(chat.messages) if message.get("role") == "user"), 0)
    return _digest([chat.messages[: first + 1], chat.tools])


def _digest(value: object) -> bytes:
    return blake2b(json.dumps(value, default=dict).encode(), digest_size=16).digest()
