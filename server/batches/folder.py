"""The contents of files, on disk."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from mull.server.batches.objects import new_id

PART = ".part"


class Folder:
    """One file for each id; what is not yet whole has another name. All methods may be called in a thread.

    Args:
        path: Where they are; it is made, readable for its owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, known: Collection[str]) -> None:
        """Make it, and delete what a killed server left: all but these files.

        Raises:
            OSError: it cannot be made or read.
        """
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._path.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)

    def __getitem__(self, name: str) -> Path:
        return self._path / name

    def draft(self) -> Path:
        """Where something may be written that is not whole yet."""
        return self._path / (new_id("draft-") + PART)

    def seal(self, draft: Path) -> None:
        """What was written is whole, and survives a power cut."""
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.chmod(0o600)

    def keep(self, draft: Path, name: str) -> None:
        """Give it its name."""
        draft.replace(self[name])

    def remove(self, name: str) -> None:
        """Delete one, if it is there."""
        self[name].unlink(missing_ok=True)


def append(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines to a file."""
    with path.open("ab") as file:
        for line in lines:
            file.write(line + b"\n")
