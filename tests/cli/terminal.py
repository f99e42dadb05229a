"""The command line on a real terminal: a process of its own behind a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from types import TracebackType
from typing import Self

CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]|\r")
SECONDS = 60
"""How long a process may take: they do in a moment, but test machines are busy."""


class Terminal:
    """A `mull` process on a terminal of 100 by 30 characters.

    Args:
        arguments: Its command line.
        pipe: Whether standard output is a pipe; what is written there is `out`.
    """

    def __init__(self, *arguments: object, pipe: bool = False) -> None:
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        code = "from mull.server.cli import main; main()"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MULL_", "NO_COLOR", "CI"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=theirs,
            stdout=subprocess.PIPE if pipe else theirs,
            stderr=theirs,
            env=clean | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(theirs)
        self.raw = ""

    @property
    def text(self) -> str:
        """All that was shown so far, without colours and movements of the cursor."""
        return CONTROL.sub("", self.raw)

    def until(self, shown: str, *, after: int = 0) -> int:
        """Wait until a text was shown and return where it ends in `text`."""
        deadline = time.monotonic() + SECONDS
        while (at := self.text.find(shown, after)) < 0:
            assert time.monotonic() < deadline, f"{shown!r} was not shown:\n{self.text}"
            assert self.read(1) or self.process.poll() is None, f"it ended before {shown!r}:\n{self.text}"
        return at + len(shown)

    def enter(self, line: str) -> None:
        """Type a line."""
        os.write(self._own, line.encode() + b"\n")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for the end of the process and return its exit status."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end:\n{self.text}"
            self.read(0.1)
        while self.read(0):
            pass
        return self.process.returncode

    def read(self, seconds: float) -> bool:
        """Take in what is shown within some time; whether there was anything."""
        if not select.select([self._own], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._own, 65536)
        except OSError:  # the other side is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._own)
