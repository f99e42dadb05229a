"""What is kept in a database: the tables, which SQLite and PostgreSQL share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)


class Words(TypeDecorator[str]):
    """Text from outside: PostgreSQL takes no NUL, so that such text never equals what is kept."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """What is sent to the database."""
        return value if value is None else value.replace("\0", "\ufffd")


NUMBER = BigInteger().with_variant(Integer, "sqlite")
BATCHES = MetaData()
"""Files and batches: in SQLite, and in the shared store."""
SHARED = MetaData()
"""What only the shared store has, beside those."""

files = Table(
    "files",
    BATCHES,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("id", Words, nullable=False, unique=True),
    Column("owner", Words),
    Column("filename", Words, nullable=False),
    Column("purpose", Words, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
batches = Table(
    "batches",
    BATCHES,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("id", Words, nullable=False, unique=True),
    Column("owner", Words),
    Column("endpoint", Words, nullable=False),
    Column("input_file_id", Words, nullable=False),
    Column("completion_window", Words, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("status", Words, nullable=False),
    Column("times", Words, nullable=False),
    Column("metadata", Words, nullable=False),
    Column("output_seconds", BigInteger),
    Column("errors", Words, nullable=False),
    Column("model", Words),
    Column("output_file_id", Words),
    Column("error_file_id", Words),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("total", "completed", "failed", "input", "cached", "output", "reasoning")
    ),
    Column("holder", Words, comment="The server that works on it."),
    Column("lease", Float(53), comment="Unix time at which another server may take it over."),
    sqlite_autoincrement=True,
)
outcomes = Table(
    "outcomes",
    BATCHES,
    Column("batch", Words, primary_key=True),
    Column("line", NUMBER, primary_key=True, autoincrement=False),
    Column("kind", Words, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
contents = Table(
    "contents",
    SHARED,
    Column("file", Words, ForeignKey(files.c.id, ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
traces = Table(
    "traces",
    SHARED,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("id", Words, nullable=False, unique=True),
    Column("created", BigInteger, nullable=False, index=True),
    Column("light", Words, nullable=False, comment="As lists show it: JSON."),
    Column("trace", Words, nullable=False, comment="All of it: JSON."),
)
feedback = Table(
    "feedback",
    SHARED,
    Column("trace", Words, primary_key=True),
    Column("node", Integer, primary_key=True, autoincrement=False, comment="-1: the answer."),
    Column("created", BigInteger, nullable=False),
    Column("said", Words, nullable=False, comment="JSON."),
)
version = Table("version", SHARED, Column("number", Integer, primary_key=True))
