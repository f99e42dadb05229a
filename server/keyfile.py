"""The file of API keys: one JSON object a line, with digests in place of the keys."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from mull.errors import MullError
from mull.server.callers import KeyLimits
from mull.server.strict import Strict

PREFIX = "mull_"
"""How keys begin, so that scanners for secrets can find those that got where they should not be."""

Role = Literal["user", "admin"]


class KeyFileError(MullError):
    """The file of keys cannot be read; the message names the line, and quotes nothing of it."""

    code = "configuration_error"


class KeyEntry(Strict):
    """What is kept of one key.

    The digest is a plain SHA-256: a key has 256 random bits, which nobody can guess however fast he can hash.
    Slow functions (scrypt, Argon2) are for passwords, and would cost every request their time.
    """

    name: str = Field(pattern=r"^[\w.@-]{1,64}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    role: Role = "user"
    created: int = Field(ge=0, description="Unix time.")
    limits: KeyLimits = KeyLimits()

    @property
    def id(self) -> str:
        """What tells it from other keys of the same name; the begin of its digest."""
        return self.digest[:12]


def digest_of(key: bytes) -> str:
    """What is kept of a key."""
    return sha256(key).hexdigest()


def new_key(name: str, *, role: Role = "user", limits: KeyLimits | None = None) -> tuple[str, KeyEntry]:
    """Make a key of 256 random bits.

    Returns:
        The key, which is kept nowhere, and what is kept of it.

    Raises:
        ValidationError: the name is not one.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    entry = KeyEntry(
        name=name,
        digest=digest_of(key.encode()),
        role=role,
        created=int(time.time()),
        limits=limits or KeyLimits(),
    )
    return key, entry


def read(path: Path) -> list[KeyEntry]:
    """All keys of a file.

    Raises:
        KeyFileError: it cannot be read, or a line is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise KeyFileError(f"keys_file: cannot read {path}: {why}") from None
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entries.append(KeyEntry.model_validate_json(line))
        except ValidationError as error:
            # Somebody may have written a key where its digest belongs: nothing of the line is told.
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            unknown = first["type"] == "extra_forbidden"
            field = "a field" if unknown else ".".join(map(str, first["loc"])) or "the line"
            raise KeyFileError(
                f"keys_file: {path}, line {number}: {field} is wrong; `mull keys` writes such files"
            ) from None
    return entries


@contextmanager
def changing(path: Path) -> Generator[list[KeyEntry], None, None]:
    """The keys of a file, to be changed in place and written back together; nobody else changes it meanwhile.

    Raises:
        KeyFileError: it cannot be read.
        OSError: it cannot be written.
    """
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = read(path) if path.exists() else []
        yield entries
        _write(path, entries)


def _write(path: Path, entries: Sequence[KeyEntry]) -> None:
    """Replace a file as a whole, readable by its owner alone."""
    # A link (as Kubernetes mounts secrets) stays one.
    path = path.resolve()
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.writelines(entry.model_dump_json() + "\n" for entry in entries)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            Path(draft).chmod(path.stat().st_mode & 0o777)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
