"""What has to be remembered of files and batches, wherever that is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from mull.server.batches.objects import Batch, Outcome, Status, StoredFile
from mull.server.callers import Caller


class BatchStore(Protocol):
    """Survives the server: whatever a method has returned from is there after a kill."""

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

    async def add_file(self, file: StoredFile) -> None:
        """Keep a file whose content is there."""
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
        """Forget a file."""
        ...

    async def file_bytes(self) -> int:
        """The size of all files together."""
        ...

    async def expired_files(self, now: int) -> list[StoredFile]:
        """Those whose time is over, and that no unfinished batch reads."""
        ...

    # -- batches ------------------------------------------------------------------------------------------

    async def add_batch(self, batch: Batch) -> None:
        """Keep a new batch."""
        ...

    async def batch(self, name: str) -> Batch | None:
        """The batch of this id."""
        ...

    async def batches(self, caller: Caller, *, limit: int, after: Batch | None) -> list[Batch]:
        """Those that a caller may read, newest first."""
        ...

    async def unfinished(self) -> list[Batch]:
        """All that are not over, oldest first."""
        ...

    async def move(
        self, name: str, to: Status, *, of: Collection[Status], now: int, **changes: Any
    ) -> Batch | None:
        """Change a batch's status and fields, if it has one of the statuses `of`; else None."""
        ...

    async def finish(
        self, name: str, to: Status, *, now: int, output: StoredFile | None, errors: StoredFile | None
    ) -> None:
        """End a batch: its status and its files appear together, its outcomes are forgotten."""
        ...

    async def remove_batches(self, before: int) -> None:
        """Forget those that are over and were made before a time."""
        ...

    # -- lines --------------------------------------------------------------------------------------------

    async def record(self, name: str, outcome: Outcome) -> None:
        """Keep what came of a line and count it, both or neither; what is known of a line already stays."""
        ...

    async def recorded(self, name: str) -> set[int]:
        """The numbers of the lines of a batch that are over."""
        ...

    async def outcomes(
        self, name: str, *, completed: bool, after: int, limit: int
    ) -> Sequence[tuple[int, bytes]]:
        """Number and content of the next lines after one: of those that were answered, or of the others."""
        ...
