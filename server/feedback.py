"""What users say of answers: one JSON Lines file beside the traces."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mull.server.schemas import Strict

Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class Feedback(Strict):
    """The body of POST /v1/ttc/feedback. The last feedback on a trace, or on one of its nodes, counts."""

    trace_id: str = Field(min_length=1, max_length=128)
    reference: Text | None = Field(None, description="The right answer.")
    right: bool | None = Field(None, description="Whether the answer is right.")
    rating: Literal[-1, 1] | None = Field(None, description="Whether the answer is liked.")
    node: int | None = Field(None, ge=0, description="The node of the trace that is meant, not the answer.")
    comment: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Feedback:
        if self.reference is None and self.right is None and self.rating is None and self.comment is None:
            raise ValueError("give at least one of reference, right, rating and comment")
        return self


MOST_BYTES = 32 << 20


class FeedbackLog:
    """The feedback on one server's traces. Safe to use from several threads.

    Args:
        path: The file; appended to.
        most: Bytes of the file above which it is cut down to what counts.
        clock: Unix time.
    """

    def __init__(self, path: Path, *, most: int = MOST_BYTES, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, dict[int | None, dict[str, Any]]] = {}

    def open(self, *, not_before: float) -> None:
        """Read what there is; what is older than this Unix time is deleted.

        Raises:
            OSError: the file cannot be read or replaced.
        """
        if not self._path.exists():
            return
        kept, dropped = [], False
        for line in self._path.read_bytes().splitlines(keepends=True):
            try:
                row = json.loads(line)
                fresh = row["created"] >= not_before
                name, node = row["trace_id"], row.get("node")
            except (ValueError, KeyError, TypeError):
                fresh = False  # torn by a kill
            dropped = dropped or not fresh
            if fresh:
                kept.append(line)
                self._last.setdefault(name, {})[node] = row
        if dropped:
            self._replace(kept)

    def add(self, feedback: Feedback) -> bool:
        """Append feedback, unless it says what the last one on the same trace and node said.

        Returns:
            Whether it was new.

        Raises:
            OSError: it cannot be written.
        """
        said = feedback.model_dump(exclude_none=True)
        with self._lock:
            last = self._last.get(feedback.trace_id, {}).get(feedback.node, {})
            if {**last, "created": None} == {**said, "created": None}:
                return False
            row = {**said, "created": int(self._clock())}
            self._append(self._line(row))
            self._last.setdefault(feedback.trace_id, {})[feedback.node] = row
            if self._path.stat().st_size > self._most:
                self._replace([self._line(r) for said_of in self._last.values() for r in said_of.values()])
                # What counts may be more than that: the next cut comes when the file has doubled.
                self._most = max(self._most, 2 * self._path.stat().st_size)
        return True

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        size = os.fstat(descriptor).st_size
        try:
            with open(descriptor, "ab") as file:
                file.write(line)
        except OSError:
            with suppress(OSError):
                os.truncate(self._path, size)  # half a line would spoil the next one
            raise

    @staticmethod
    def _line(row: dict[str, Any]) -> bytes:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"

    def _replace(self, lines: Sequence[bytes]) -> None:
        part = self._path.with_suffix(".part")
        part.write_bytes(b"".join(lines))
        part.chmod(0o600)
        part.replace(self._path)

    def of(self, trace: str) -> list[dict[str, Any]]:
        """What counts of the feedback on a trace."""
        with self._lock:
            return list(self._last.get(trace, {}).values())
