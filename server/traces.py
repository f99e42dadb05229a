"""Finished requests on disk, to learn from: JSON Lines files, with an index in memory.

Nothing here makes a request wait: lines are written by a thread, and when its queue is full a line is dropped
and counted. A folder belongs to one server at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from mull.errors import InvalidRequest, NotFound
from mull.server.callers import Caller
from mull.server.feedback import FeedbackLog

log = logging.getLogger(__name__)

NAME = re.compile(r"traces-(\d{8})-(\d+)\.jsonl")
PERIOD = 60.0
"""Seconds after which a writer with nothing to write looks for what is too old."""
LIGHT = ("id", "created", "model", "strategy", "verifier", "status", "stopped", "score", "seconds")
"""Fields of a trace that lists show."""

Make = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    offset: int
    row: Mapping[str, Any]


class TraceStore:
    """The traces of one server. `open` it before use, `close` it after; both may be called in a thread.

    Files are deleted whole, when all traces in them are past their count or age; a new one is begun each day.

    Args:
        folder: Where the files are; it is made, readable for its owner only.
        max_count: Traces kept.
        max_age: Seconds that they are kept.
        on_drop: Called when a trace is lost.
        waiting: Traces that may wait to be written.
        file_bytes: Size from which another file is begun.
        clock: Unix time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_count: int,
        max_age: float,
        on_drop: Callable[[], None] = lambda: None,
        waiting: int = 1024,
        file_bytes: int = 32 * 2**20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._max_count = max_count
        self._max_age = max_age
        self._on_drop = on_drop
        self._file_bytes = file_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: queue.Queue[str | None] = queue.Queue(waiting)
        self._pending: dict[str, Make] = {}
        self._index: dict[str, _Place] = {}
        self._live: Counter[Path] = Counter()
        self._current: Path | None = None
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self.feedback = FeedbackLog(folder / "feedback.jsonl", clock=clock)

    def open(self) -> None:
        """Read what there is and begin to write.

        Raises:
            OSError: the folder cannot be made or read.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("traces-*.jsonl"), key=_order):
            if NAME.fullmatch(path.name):
                self._live[path] = 0
                self._read(path)
        self._expire()
        self.feedback.open(not_before=self._clock() - self._max_age)
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def put(self, name: str, make: Make) -> None:
        """Keep a trace.

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
        made = self._find(name)
        if not isinstance(made, _Place):
            return dict(made())
        try:
            with made.file.open("rb") as file:
                file.seek(made.offset)
                found: dict[str, Any] = json.loads(file.readline())
        except FileNotFoundError:  # its time came meanwhile
            raise _unknown(name) from None
        return found

    def row(self, name: str) -> Mapping[str, Any]:
        """A trace as lists show it.

        Raises:
            NotFound: there is none of this id (any more).
        """
        found = self._find(name)
        return found.row if isinstance(found, _Place) else light(found())

    def page(self, *, limit: int, after: str | None = None) -> tuple[list[Mapping[str, Any]], bool]:
        """Light rows, newest first, and whether there are more.

        Args:
            limit: How many at most.
            after: Id of a trace; only older ones are listed.

        Raises:
            NotFound: there is no trace `after`.
        """
        with self._lock:
            written, pending = list(self._index.values()), list(self._pending.values())
        # What waits is made outside the lock, for which requests wait.
        newest = reversed([*(place.row for place in written), *(light(make()) for make in pending)])
        if after is not None and not any(row["id"] == after for row in newest):
            raise _unknown(after, "after")
        rows = list(islice(newest, limit + 1))
        return rows[:limit], len(rows) > limit

    def _find(self, name: str) -> Make | _Place:
        with self._lock:
            found = self._pending.get(name) or self._index.get(name)
        if found is None:
            raise _unknown(name)
        return found

    def _work(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                if (name := self._queue.get(timeout=PERIOD)) is None:
                    return
                try:
                    self._append(name)
                except Exception as error:  # a full disk, text that is no Unicode: the next one may be fine
                    self._drop(name, str(error))
            try:
                self._expire()
            except OSError as error:
                log.warning("old traces cannot be deleted: %s", error)

    def _append(self, name: str) -> None:
        trace = self._pending[name]()
        line = to_json(trace, inf_nan_mode="null", fallback=str) + b"\n"
        path = self._file()
        offset = path.stat().st_size
        try:
            with path.open("ab") as file:
                file.write(line)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, offset)  # half a line would spoil the next one
            raise
        with self._lock:
            self._index[name] = _Place(path, offset, light(trace))
            self._live[path] += 1
            del self._pending[name]

    def _file(self) -> Path:
        """The file to write to: of today, and not too large."""
        day, current = time.strftime("%Y%m%d", time.gmtime(self._clock())), self._current
        if (
            current is None
            or not current.exists()
            or _order(current)[0] != day
            or current.stat().st_size >= self._file_bytes
        ):
            # Never one that was there before: its last line may be torn.
            last = max((n for d, n in map(_order, self._live) if d == day), default=0)
            current = self._folder / f"traces-{day}-{last + 1}.jsonl"
            os.close(os.open(current, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._current = current
            self._live[current] = 0
        return current

    def _drop(self, name: str, why: str) -> None:
        with self._lock:
            self._pending.pop(name, None)
        log.warning("trace %s is lost: %s", name, why)
        self._on_drop()

    def _expire(self) -> None:
        """Forget traces past their count or age, and delete files that hold no others."""
        oldest = self._clock() - self._max_age
        with self._lock:
            for name, place in list(islice(self._index.items(), max(0, len(self._index) - self._max_count))):
                self._forget(name, place)
            while self._index:
                name, place = next(iter(self._index.items()))
                if place.row["created"] >= oldest:
                    break
                self._forget(name, place)
            empty = [path for path, count in self._live.items() if not count and path != self._current]
            for path in empty:
                del self._live[path]
        for path in empty:
            path.unlink(missing_ok=True)

    def _forget(self, name: str, place: _Place) -> None:
        del self._index[name]
        self._live[place.file] -= 1
        if self._current == place.file and not self._live[place.file]:
            self._current = None  # all it holds is past: another one is begun, and it is deleted

    def _read(self, path: Path) -> None:
        broken = 0
        for offset, line in _lines(path):
            try:
                row = light(json.loads(line))
                self._index[row["id"]] = _Place(path, offset, row)
                self._live[path] += 1
            except (ValueError, KeyError, TypeError):
                broken += 1
        if broken:
            log.warning("%s: %d lines cannot be read", path, broken)


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
            f"{what}: no traces are kept; set traces.dir in the configuration (MULL_TRACES__DIR)",
            code="traces_not_configured",
        )
    return store


async def readable(store: TraceStore, name: str, caller: Caller) -> Mapping[str, Any]:
    """A trace as lists show it, if the caller may read it.

    Raises:
        NotFound: there is none of this id, or not for this caller.
    """
    row = await asyncio.to_thread(store.row, name)
    if not caller.may_read(row["owner"]):
        raise _unknown(name)
    return row


def light(trace: Mapping[str, Any]) -> dict[str, Any]:
    """A trace as lists show it."""
    # Lines of earlier versions name no owner.
    return {name: trace[name] for name in LIGHT} | {
        "owner": trace.get("owner"),
        "nodes": len(trace["nodes"]),
    }


def _unknown(name: str, param: str = "trace_id") -> NotFound:
    return NotFound(f"there is no trace {name!r:.80}", param=param)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    offset = 0
    with path.open("rb") as file:
        for line in file:
            yield offset, line
            offset += len(line)


def _order(path: Path) -> tuple[str, int]:
    found = NAME.fullmatch(path.name)
    return ("", 0) if found is None else (found[1], int(found[2]))
