"""Traces of one server on disk: JSON Lines files, with an index in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import to_json

from mull.server.feedback import Feedback, FeedbackLog
from mull.server.storage.errors import StoreUnavailable
from mull.server.traces import light, unknown

log = logging.getLogger(__name__)

T = TypeVar("T")

NAME = re.compile(r"traces-(\d{8})-(\d+)\.jsonl")


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    offset: int
    row: Mapping[str, Any]


class TraceFiles:
    """An `Archive` in a folder, which belongs to one server at a time: see there.

    Files are deleted whole, when all traces in them are past their count or age; a new one is begun each day.

    Args:
        folder: Where the files are; it is made, readable for its owner only.
        max_count: Traces kept.
        max_age: Seconds that they are kept.
        file_bytes: Size from which another file is begun.
        clock: Unix time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_count: int,
        max_age: float,
        file_bytes: int = 32 * 2**20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._max_count = max_count
        self._max_age = max_age
        self._file_bytes = file_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._index: dict[str, _Place] = {}
        self._live: Counter[Path] = Counter()
        self._current: Path | None = None
        self._feedback = FeedbackLog(folder / "feedback.jsonl", clock=clock)

    def open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("traces-*.jsonl"), key=_order):
            if NAME.fullmatch(path.name):
                self._live[path] = 0
                self._read(path)
        self.expire()
        self._feedback.open(not_before=self._clock() - self._max_age)

    async def call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            log.error("traces or feedback cannot be read or written: %s", error)
            raise StoreUnavailable() from None

    def get(self, name: str) -> dict[str, Any]:
        place = self._find(name)
        try:
            with place.file.open("rb") as file:
                file.seek(place.offset)
                found: dict[str, Any] = json.loads(file.readline())
        except FileNotFoundError:  # its time came meanwhile
            raise unknown(name) from None
        return found

    def row(self, name: str) -> Mapping[str, Any]:
        return self._find(name).row

    def page(self, *, limit: int, after: str | None) -> list[Mapping[str, Any]]:
        with self._lock:
            newest = reversed(list(self._index.values()))
        if after is not None and not any(place.row["id"] == after for place in newest):
            raise unknown(after, "after")
        return [place.row for place in islice(newest, limit)]

    def add_feedback(self, feedback: Feedback) -> bool:
        return self._feedback.add(feedback)

    def feedback(self, name: str) -> list[dict[str, Any]]:
        return self._feedback.of(name)

    def _find(self, name: str) -> _Place:
        with self._lock:
            found = self._index.get(name)
        if found is None:
            raise unknown(name)
        return found

    def add(self, trace: Mapping[str, Any]) -> None:
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
            self._index[trace["id"]] = _Place(path, offset, light(trace))
            self._live[path] += 1

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

    def expire(self) -> None:
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


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    offset = 0
    with path.open("rb") as file:
        for line in file:
            yield offset, line
            offset += len(line)


def _order(path: Path) -> tuple[str, int]:
    found = NAME.fullmatch(path.name)
    return ("", 0) if found is None else (found[1], int(found[2]))
