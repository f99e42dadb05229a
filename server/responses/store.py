"""Responses kept for a while, so that a conversation can go on from one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mull.errors import NotFound
from mull.server.callers import Caller
from mull.server.responses.items import Item
from mull.server.settings import ResponseSettings


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A response, and the conversation that it answered."""

    response: Mapping[str, Any]
    items: tuple[Item, ...]
    """What the model was given, instructions left out."""
    owner: str | None
    size: int
    """Bytes, about: of the whole conversation, although responses that share one share its memory."""


class ResponseStore:
    """Responses by id, in memory: the newest, as many as the configuration allows. Belongs to one event loop.

    Args:
        settings: How many, how old, how much.
        clock: Seconds, of whatever beginning.
    """

    def __init__(self, settings: ResponseSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Kept]] = OrderedDict()
        self._bytes = 0

    def put(self, name: str, kept: Kept) -> None:
        """Keep a response; the oldest make room for it."""
        self._kept[name] = self._clock(), kept
        self._bytes += kept.size
        self._trim()

    def get(self, name: str, caller: Caller) -> Kept:
        """A response that the caller may read.

        Raises:
            NotFound: there is none of this name, not any more, or it is somebody else's.
        """
        self._trim()
        _, kept = self._kept.get(name, (0.0, None))
        if kept is None or not caller.may_read(kept.owner):
            hours = self._settings.max_age_hours
            raise NotFound(
                f"there is no response {name!r:.80}: the last {self._settings.max_count} are kept, "
                f"for {hours:g} hours, unless store is false",
                param="response_id",
                code="response_not_found",
            )
        return kept

    def delete(self, name: str, caller: Caller) -> None:
        """Forget a response.

        Raises:
            NotFound: the caller can see none of this name.
        """
        self._bytes -= self.get(name, caller).size
        del self._kept[name]

    def _trim(self) -> None:
        limits, now = self._settings, self._clock()
        while self._kept:
            name, (since, kept) = next(iter(self._kept.items()))
            old = now - since > limits.max_age_hours * 3600
            if not old and len(self._kept) <= limits.max_count and self._bytes <= limits.max_bytes:
                break
            del self._kept[name]
            self._bytes -= kept.size
