"""How the commands end: exit codes, and failures told in one line.

0    done
1    the server refused or failed, or results could not be written
2    the command line or a file it names is wrong
3    no server answers, or it is still starting
130  interrupted
"""

from __future__ import annotations

FAILED = 1
USAGE = 2
NO_SERVER = 3
INTERRUPTED = 130


class Failure(Exception):
    """Why a command ends early, in one line that says what to do about it."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def no_server(url: str, why: str) -> Failure:
    """Nothing answers at a URL."""
    return Failure(
        f"no server answers at {url} ({why}); start one with `mull serve` or name another with --url",
        NO_SERVER,
    )
