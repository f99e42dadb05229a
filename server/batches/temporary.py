"""A folder for what is not kept."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

PREFIX = "mull-store-"
LOCK = "lock"


class TemporaryFolder:
    """A folder of this process, readable for its owner only. It removes what killed ones have left behind."""

    def __init__(self) -> None:
        for left in Path(gettempdir()).glob(f"{PREFIX}*"):
            _remove(left)
        self.path = Path(mkdtemp(prefix=PREFIX))
        # Locked before it has its name, so that nobody finds it unlocked.
        self._lock = os.open(self.path / "locking", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.path / "locking").rename(self.path / LOCK)

    def close(self) -> None:
        """Delete it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove(folder: Path) -> None:
    """Delete a folder, unless its process lives or it is somebody else's."""
    with suppress(OSError):
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
