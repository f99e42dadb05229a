"""Which keys open the API, and whom they stand for."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastapi import Request
from pydantic import SecretStr

from mull.server import keyfile
from mull.server.admin import Admin, Forbidden, Unauthorized, bearer
from mull.server.callers import STATE, Caller, known_caller, owner_of
from mull.server.keyfile import KeyEntry, KeyFileError, digest_of

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between looks whether the file of keys has changed; a change counts from the second one."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    digest: str
    caller: Caller


class Keys:
    """Lets users and administrators pass and notes who they are: see `mull.server.callers.caller_of`.

    Args:
        keys: Accepted API keys. Without any, and without a file: open to all.
        admin: Knows the administrators' key that the environment gives.
        file: More keys, as digests; see `mull.server.keyfile`.

    Raises:
        KeyFileError: the file cannot be read.
    """

    def __init__(self, keys: Sequence[SecretStr], admin: Admin, file: Path | None = None) -> None:
        self._configured = [
            _Known(
                digest=digest_of(key := secret.get_secret_value().encode()),
                caller=Caller(owner=owner_of(key), name=f"api_keys[{number}]"),
            )
            for number, secret in enumerate(keys)
        ]
        self._admin = admin
        self._file = file
        self._seen = _state(file)
        self._filed = _known([] if file is None else keyfile.read(file))
        self._watching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to follow changes of the file."""
        if self._file is not None:
            self._watching = asyncio.create_task(self._watch(self._file))

    async def close(self) -> None:
        """Follow them no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    @property
    def configured(self) -> bool:
        """Whether there are keys, so that users can be told apart."""
        return bool(self._configured) or self._file is not None

    async def user(self, request: Request) -> None:
        """Let requests with an API key pass.

        Raises:
            Unauthorized: there is none, or another one.
        """
        # What the server asks itself comes with its caller: the line of a batch with who made the batch.
        known = known_caller(request.scope)
        caller = self._user(bearer(request)) if known is None else self._holder(known)
        setattr(request.state, STATE, caller)

    async def user_or_admin(self, request: Request) -> None:
        """Let requests with an API key or the administrators' key pass.

        Raises:
            Unauthorized: there is none, or another one.
        """
        key = bearer(request)
        caller = Caller(admin=True, name="admin") if self._admin.is_key(key) else self._user(key)
        setattr(request.state, STATE, caller)

    async def admin(self, request: Request) -> None:
        """Let requests with a key of role admin pass, or with the one that the environment gives.

        Raises:
            Unauthorized: there is none.
            Forbidden: it is another one, or the server has none for administrators.
        """
        key = bearer(request)
        found = self._find(key)
        if not self._admin.is_key(key) and (found is None or not found.admin):
            if not self._admin.configured and not any(known.caller.admin for known in self._filed):
                raise Forbidden(
                    f"administrative routes are closed: set the environment variable {self._admin.variable} "
                    "to a key and start the server again",
                    code="admin_key_not_set",
                )
            if key is None:
                raise Unauthorized("the administrator's key is needed: Authorization: Bearer <key>")
            raise Forbidden("this key is not the administrator's")
        setattr(request.state, STATE, found or Caller(admin=True, name="admin"))

    def _user(self, key: bytes | None) -> Caller:
        if not self.configured:
            return Caller()
        if (found := self._find(key)) is None:
            raise Unauthorized("a valid API key is needed: Authorization: Bearer <key>")
        return found

    def _find(self, key: bytes | None) -> Caller | None:
        """Whose a key is. All digests are compared, each in constant time: delays tell nothing of any key."""
        shown = digest_of(key or b"")
        known = [*self._configured, *self._filed]
        found = [each.caller for each in known if hmac.compare_digest(shown, each.digest)]
        return found[0] if found and key is not None else None

    def _holder(self, known: Caller) -> Caller:
        """A caller of whom only the owner was kept, as the keys are now.

        Raises:
            Unauthorized: his key was revoked.
        """
        if known.owner is None or not self.configured:
            return known
        for each in (*self._configured, *self._filed):
            if each.caller.owner == known.owner:
                return replace(known, name=each.caller.name, limits=each.caller.limits)
        raise Unauthorized("the API key that began this is not valid any more")

    async def _watch(self, file: Path) -> None:
        last = self._seen
        while True:
            await asyncio.sleep(PERIOD)
            state, before = await asyncio.to_thread(_state, file), last
            last = state
            # What has changed since the last look may not be written to its end.
            if state == self._seen or state != before:
                continue
            self._seen = state
            try:
                entries = await asyncio.to_thread(keyfile.read, file)
            except KeyFileError as error:
                log.error("%s; the keys stay as they were", error)
                continue
            self._filed = _known(entries)
            log.info("read %d API keys", len(entries))


def _known(entries: Sequence[KeyEntry]) -> list[_Known]:
    return [
        _Known(
            digest=entry.digest,
            caller=Caller(
                # By name: whoever gets another key keeps what is his.
                owner=owner_of(b"name\0" + entry.name.encode()),
                name=entry.name,
                admin=entry.role == "admin",
                limits=entry.limits,
            ),
        )
        for entry in entries
    ]


def _state(file: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        found = None if file is None else file.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)
