"""Finished requests, kept to learn from.

Nothing here makes a request wait: traces are written by a thread, and when its queue is full one is dropped
and counted. Where they are kept is an `Archive`: files of one server, or a database that several share.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from mull.errors import InvalidRequest, NotFound
from mull.server.callers import Caller
from mull.server.feedback import Feedback
from mull.server.storage.errors import StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

PERIOD = 60.0
"""Seconds after which a writer with nothing to write looks for what is too old."""
PATIENCE = 10.0
"""Seconds that traces wait for a store that is away, before what comes is lost."""
AGAIN = 0.5
"""Seconds until such a store is tried again."""
LIGHT = ("id", "created", "model", "strategy", "verifier", "status", "stopped", "score", "seconds")
"""Fields of a trace that lists show."""

Make = Callable[[], Mapping[str, Any]]


class Archive(Protocol):
    """Where traces are kept. Several threads may use it; one of them adds and expires."""

    def open(self) -> None:
        """Read what there is.

        Raises:
            OSError: the folder cannot be made or read.
        """
        ...

    async def call(self, work: Callable[[], T]) -> T:
        """Call what uses the other methods, in a thread that may wait for them.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    def add(self, trace: Mapping[str, Any]) -> None:
        """Keep a trace. Whatever this raises, the trace is lost."""
        ...

    def get(self, name: str) -> dict[str, Any]:
        """A whole trace; raises `NotFound`."""
        ...

    def row(self, name: str) -> Mapping[str, Any]:
        """A trace as lists show it; raises `NotFound`."""
        ...

    def page(self, *, limit: int, after: str | None) -> list[Mapping[str, Any]]:
        """Light rows, newest first, of those older than `after`; raises `NotFound` if there is none such."""
        ...

    def expire(self) -> None:
        """Forget what is past its count or age."""
        ...

    def add_feedback(self, feedback: Feedback) -> bool:
        """Keep feedback and return True, unless the last one on the same trace and node said the same."""
        ...

    def feedback(self, name: str) -> list[dict[str, Any]]:
        """What counts of the feedback on a trace."""
        ...


class TraceStore:
    """The traces that one server writes and reads. `open` it before use, `close` it after, each in a thread.

    Args:
        archive: Where they are kept.
        on_drop: Called when a trace is lost.
        waiting: Traces that may wait to be written.
    """

    def __init__(
        self, archive: Archive, *, on_drop: Callable[[], None] = lambda: None, waiting: int = 1024
    ) -> None:
        self._archive = archive
        self._on_drop = on_drop
        self._lock = threading.Lock()
        self._queue: queue.Queue[str | None] = queue.Queue(waiting)
        self._pending: dict[str, Make] = {}
        self._closing = threading.Event()
        self._away_since: float | None = None
        self._losing = False
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)

    def open(self) -> None:
        """Read what there is and begin to write.

        Raises:
            OSError: the folder cannot be made or read.
        """
        self._archive.open()
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and end."""
        self._closing.set()
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    async def call(self, work: Callable[[], T]) -> T:
        """Call one of the methods below, which wait for disks and databases.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        return await self._archive.call(work)

    def put(self, name: str, make: Make) -> None:
        """Keep a trace; returns at once.

        Args:
            name: Its id.
            make: Makes what is written, later and in another thread.
        """
        with self._lock:
            self._pending[name] = make
        try:
            self._queue.put_nowait(name)
        except queue.Full:
            self._drop(name, "too many wait to be written")

    def get(self, name: str) -> dict[str, Any]:
        """A whole trace.

        Raises:
            NotFound: there is none of this id (any more).
        """
        make = self._waiting(name)
        return self._archive.get(name) if make is None else dict(make())

    def row(self, name: str) -> Mapping[str, Any]:
        """A trace as lists show it.

        Raises:
            NotFound: there is none of this id (any more).
        """
        make = self._waiting(name)
        return self._archive.row(name) if make is None else light(make())

    def page(self, *, limit: int, after: str | None = None) -> tuple[list[Mapping[str, Any]], bool]:
        """Light rows, newest first, and whether there are more.

        Args:
            limit: How many at most.
            after: Id of a trace; only older ones are listed.

        Raises:
            NotFound: there is no trace `after`.
        """
        with self._lock:
            pending = dict(reversed(self._pending.items()))
        if after in pending:
            names = iter(pending)
            any(name == after for name in names)
            newest, after = list(names), None
        else:
            newest = [] if after is not None else list(pending)
        rows: list[Mapping[str, Any]] = [light(pending[name]()) for name in newest[: limit + 1]]
        # What was written since then is listed twice there.
        written = self._archive.page(limit=limit + 1 + len(pending), after=after)
        rows += [row for row in written if row["id"] not in pending]
        return rows[:limit], len(rows) > limit

    def add_feedback(self, feedback: Feedback) -> bool:
        """Keep feedback on a trace; whether it says anything new."""
        return self._archive.add_feedback(feedback)

    def feedback(self, name: str) -> list[dict[str, Any]]:
        """What counts of the feedback on a trace."""
        return self._archive.feedback(name)

    def _waiting(self, name: str) -> Make | None:
        with self._lock:
            return self._pending.get(name)

    def _work(self) -> None:
        while True:
            try:
                self._archive.expire()
            except Exception as error:  # the store may be in any state; the next trace is kept all the same
                log.warning("old traces cannot be deleted: %s", error)
            with contextlib.suppress(queue.Empty):
                if (name := self._queue.get(timeout=PERIOD)) is None:
                    return
                try:
                    self._add(self._pending[name]())
                except Exception as error:  # a full disk, text that is no Unicode: the next one may be fine
                    self._drop(name, str(error))
                else:
                    with self._lock:
                        del self._pending[name]
                    if self._losing:
                        log.warning("traces are kept again")
                        self._losing = False

    def _add(self, trace: Mapping[str, Any]) -> None:
        """Keep a trace; a store that is away for a moment only loses none."""
        while True:
            try:
                self._archive.add(trace)
            except StoreUnavailable:
                now = time.monotonic()
                self._away_since = self._away_since or now
                if now - self._away_since > PATIENCE or self._closing.wait(AGAIN):
                    raise
            else:
                self._away_since = None
                return

    def _drop(self, name: str, why: str) -> None:
        with self._lock:
            self._pending.pop(name, None)
        if not self._losing:
            log.warning("trace %s is lost: %s; others that are lost now are counted only", name, why)
            self._losing = True
        self._on_drop()


def stored(store: TraceStore | None, what: str) -> TraceStore:
    """The traces.

    Args:
        store: They, or None where none are kept.
        what: What they are wanted for.

    Raises:
        InvalidRequest: none are kept.
    """
    if store is None:
        raise InvalidRequest(
            f"{what}: none are kept; set traces.dir (MULL_TRACES__DIR) or store.url in the configuration",
            code="traces_not_configured",
        )
    return store


async def readable(store: TraceStore, name: str, caller: Caller) -> Mapping[str, Any]:
    """A trace as lists show it, if the caller may read it.

    Raises:
        NotFound: there is none of this id, or not for this caller.
    """
    row = await store.call(partial(store.row, name))
    if not caller.may_read(row["owner"]):
        raise unknown(name)
    return row


def light(trace: Mapping[str, Any]) -> dict[str, Any]:
    """A trace as lists show it."""
    # Lines of earlier versions name no owner.
    return {name: trace[name] for name in LIGHT} | {
        "owner": trace.get("owner"),
        "nodes": len(trace["nodes"]),
    }


def unknown(name: str, param: str = "trace_id") -> NotFound:
    """There is no such trace."""
    return NotFound(f"there is no trace {name!r:.80}", param=param)
