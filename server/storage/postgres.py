"""The store that servers share: a PostgreSQL database."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.schema import CreateSchema

from mull.server.storage.database import READ_ONLY, Database
from mull.server.storage.errors import StoreUnavailable
from mull.server.storage.tables import BATCHES, SHARED, version

SCHEMA = "mull"
VERSION = 1
LOCK = 0x6D756C6C
"""Number of the lock that a server holds while it makes the tables."""
SESSION = (
    "SET statement_timeout TO '15s';"
    # What a server that vanished has locked would else be nobody's for hours.
    "SET idle_in_transaction_session_timeout TO '30s'"
)
PATIENCE = 20.0
"""Seconds for a whole transaction, waiting for a connection included."""
REACHING: dict[str, Any] = {
    "application_name": "mull",
    "connect_timeout": 5,
    # A network that swallows everything is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Parameters of a connection where the URL does not name them."""


def shared(url: str) -> Database:
    """The database at a URL of libpq; nothing is asked of it yet.

    Args:
        url: `postgresql://...`, with whatever parameters libpq knows.
    """
    return Database(_engine(url), threads=8, prepare=_prepare, patience=PATIENCE, pause=1.0)


def trouble(url: str) -> str | None:
    """Why the database at a URL cannot be used; None where it can. Nothing is changed in it."""
    database = Database(_engine(url), threads=1)
    try:
        database.run(_there)
    except StoreUnavailable as error:
        return database.trouble or error.message
    finally:
        database.close()
    return None


def _engine(url: str) -> Engine:
    parameters = REACHING | conninfo_to_dict(url)

    def connect() -> psycopg.Connection[Any]:
        # Prepared statements and poolers that hand connections around do not go together.
        connection = psycopg.connect(**parameters, prepare_threshold=None)
        try:
            connection.execute(SESSION)
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    # libpq reads the URL itself, so that all that it allows works and no message of SQLAlchemy's shows it.
    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        execution_options={"schema_translate_map": {None: SCHEMA}},
        hide_parameters=True,
        max_overflow=8,
        pool_pre_ping=True,
        pool_recycle=1800,
        pool_size=4,
        pool_timeout=10,
    )
    event.listen(engine, "handle_error", _standby)
    return engine


def _standby(context: ExceptionContext) -> None:
    """A server that only reads is not the one any more: connections to it are given up."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _there(connection: Connection) -> bool:
    """Whether the tables are there.

    Raises:
        StoreUnavailable: they are those of another version of mull.
    """
    if not inspect(connection).has_table("version", schema=SCHEMA):
        return False
    found = connection.scalar(select(version.c.number))
    if found != VERSION:
        raise StoreUnavailable(f"the store's tables are of version {found}; this server reads {VERSION}")
    return True


def _prepare(connection: Connection) -> None:
    """Make the tables, unless they are there."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    if _there(connection):
        return
    if not inspect(connection).has_schema(SCHEMA):
        connection.execute(CreateSchema(SCHEMA))
    BATCHES.create_all(connection)
    SHARED.create_all(connection)
    connection.execute(insert(version).values(number=VERSION))
