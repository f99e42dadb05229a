"""What has to be remembered of files and batches, wherever that is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from mull.server.batches.objects import Batch, Outcome, Status, StoredFile, Written
from mull.server.callers import Caller


class BatchStore(Protocol):
    """Survives the server: whatever a method has returned from is there after a kill.

    All methods but `open` and `close` raise `StoreUnavailable` while it cannot be reached.
    """

    async def open(self) -> None:
        """Make it usable.

        Raises:
            OSError: it cannot be, or another server uses it.
        """
        ...

    async def close(self) -> None:
        """Give it back."""
        ...

    # -- files --------------------------------------------------------------------------------------------

    def draft(self) -> Path:
        """Where something new may be written on this machine that is not whole yet; the caller removes it."""
        ...

    async def add_file(self, written: Written) -> None:
        """Keep a file and its content, both or neither; the draft may be gone after that."""
        ...

    def local(self, name: str) -> AbstractAsyncContextManager[Path]:
        """The content of a file on this machine, to be read inside of the context.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    async def file(self, name: str) -> StoredFile | None:
        """The file of this id."""
        ...

    async def files(
        self, caller: Caller, *, limit: int, after: StoredFile | None, purpose: str | None, newest: bool
    ) -> list[StoredFile]:
        """Those that a caller may read, by age."""
        ...

    async def remove_file(self, name: str) -> None:
        """Forget a file and its content."""
        ...

    async def file_bytes(self) -> int:
        """The size of all files together."""
        ...

    async def expired_files(self, now: int) -> list[StoredFile]:
        """Those whose time is over, and that no unfinished batch reads."""
        ...

    # -- batches ------------------------------------------------------------------------------------------

    async def add_batch(self, batch: Batch) -> None:
        """Keep a new batch, which this server has claimed."""
        ...

    async def batch(self, name: str) -> Batch | None:
        """The batch of this id."""
        ...

    async def batches(self, caller: Caller, *, limit: int, after: Batch | None) -> list[Batch]:
        """Those that a caller may read, newest first."""
        ...

    async def reading(self, file: str) -> Batch | None:
        """One that is not over and reads a file."""
        ...

    async def move(
        self, name: str, to: Status, *, of: Collection[Status], now: int, **changes: Any
    ) -> Batch | None:
        """Change a batch's status and fields, if it has one of the statuses `of`; else None."""
        ...

    async def finish(
        self, name: str, to: Status, *, now: int, output: Written | None, errors: Written | None
    ) -> None:
        """End a batch: its status and its files appear together, its outcomes are forgotten.

        Raises:
            LeaseLost: it is not this server's to end.
        """
        ...

    async def remove_batches(self, before: int) -> None:
        """Forget those that are over and were made before a time."""
        ...

    # -- whose turn it is to work on one ------------------------------------------------------------------

    async def claim(self) -> Batch | None:
        """Claim the oldest batch that is not over and that no server works on; None where there is none."""
        ...

    async def renew(self, names: Collection[str]) -> Mapping[str, Status]:
        """Go on working on batches: the status of those that are this server's still and not over."""
        ...

    async def release(self) -> None:
        """Leave all that are this server's to others."""
        ...

    # -- lines --------------------------------------------------------------------------------------------

    async def record(self, name: str, outcome: Outcome) -> None:
        """Keep what came of a line and count it, both or neither; what is known of a line already stays.

        Raises:
            LeaseLost: the batch is not this server's any more, or over.
        """
        ...

    async def recorded(self, name: str) -> set[int]:
        """The numbers of the lines of a batch that are over."""
        ...

    async def outcomes(
        self, name: str, *, completed: bool, after: int, limit: int
    ) -> Sequence[tuple[int, bytes]]:
        """Number and content of the next lines after one: of those that were answered, or of the others."""
        ...
