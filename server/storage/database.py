"""A database that may be away: what is done in it, in threads of its own, and how long that is waited for."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnection

from mull.server.storage.errors import StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

AWAY = (OperationalError, InterfaceError, InternalError, NoConnection)
READ_ONLY = "25006"
CONNECTION = ("08", "57P", "53300", READ_ONLY)
"""How PostgreSQL's codes begin for what concerns a whole connection, not one statement."""
ENDING = 5.0
"""Seconds in which the transactions under way may end when it is closed."""


class Database:
    """Transactions in one database. It has its own threads, so that one that hangs holds up nothing else.

    Args:
        engine: How it is reached.
        threads: Transactions at a time.
        prepare: Makes the tables, before the first transaction and after each time that it was away.
        patience: Seconds that a transaction may take.
        pause: Seconds after a failed connection in which none is tried and all is refused at once.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        threads: int,
        prepare: Callable[[Connection], None] = lambda _: None,
        patience: float | None = None,
        pause: float = 0.0,
    ) -> None:
        self.dialect = engine.dialect.name
        self._engine = engine
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._running: set[Future[Any]] = set()
        self._prepare = prepare
        self._prepared = False
        self._preparing = threading.Lock()
        self._patience = patience
        self._pause = pause
        self._refusing_until = 0.0
        self.trouble: str | None = None
        """What the driver said last, while the database does not answer."""

    async def do(self, work: Callable[[Connection], T], *, patience: float | None = None) -> T:
        """Do something in one transaction.

        Args:
            work: What is done, in a thread.
            patience: Seconds that it may take, where they are more than usual.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        return await self.call(lambda: self.run(work), patience=patience)

    async def call(self, work: Callable[[], T], *, patience: float | None = None) -> T:
        """Call in a thread of the database what uses `run`."""
        try:
            async with asyncio.timeout(self._patience and max(self._patience, patience or 0)):
                future = self._threads.submit(work)
                self._running.add(future)
                future.add_done_callback(self._running.discard)
                return await asyncio.wrap_future(future)
        except TimeoutError:
            self._failed("it takes too long", connection=True)
            raise StoreUnavailable() from None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do something in one transaction, in this thread.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        self._check_pause()
        try:
            self._make_ready()
            with self._engine.begin() as connection:
                done = work(connection)
        except AWAY as error:
            self._failed(_why(error), connection=_of_connection(error))
            raise StoreUnavailable() from None
        if self.trouble is not None:
            self.trouble = None
            log.warning("the store answers again")
        return done

    def close(self) -> None:
        """Close the connections, when the transactions under way have ended; what hangs is left behind."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        wait(self._running.copy(), ENDING)
        self._engine.dispose()

    def _make_ready(self) -> None:
        with self._preparing:
            if self._prepared:
                return
            self._check_pause()  # it may have been found away while this thread waited
            try:
                with self._engine.begin() as connection:
                    self._prepare(connection)
            except ProgrammingError as error:  # no right to make tables, say
                self._failed(_why(error), connection=True)
                raise StoreUnavailable() from None
            except StoreUnavailable as error:
                self._failed(error.message, connection=True)
                raise
            self._prepared = True

    def _check_pause(self) -> None:
        if time.monotonic() < self._refusing_until:
            raise StoreUnavailable()

    def _failed(self, why: str, *, connection: bool) -> None:
        if connection:
            self._refusing_until = time.monotonic() + self._pause
            self._prepared = False  # it may come back without its tables
        if self.trouble is None:
            log.error("the store does not answer: %s", why)
        self.trouble = why


def _why(error: Exception) -> str:
    """The first line of what the driver says: neither statements nor what they were given."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return said.partition("\n")[0] or type(error).__name__


def _of_connection(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    code: str | None = getattr(error.orig, "sqlstate", None)
    return code is None or code.startswith(CONNECTION)
