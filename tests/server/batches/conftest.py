"""A server with a place for files and batches, and what tests do with it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from openai import OpenAI
from openai.types import Batch, FileObject

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

QUESTION = [{"role": "user", "content": "What is one plus one?"}]
OVER = ("failed", "completed", "expired", "cancelled")

StartBatches = Callable[..., AbstractContextManager["Live"]]


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Settings of where files and batches are: each test is run with both places."""
    if request.param == "folder":
        return {"batches": {"dir": tmp_path / "batches"}}
    return {"store": {"url": request.getfixturevalue("database"), "lease": 1}}


in_a_folder = pytest.mark.parametrize("place", ["folder"], indirect=True)
"""For tests that have nothing to do with where things are kept."""


@pytest.fixture
def begin(start: Start, place: dict[str, Any]) -> StartBatches:
    """Start a server with files and batches: `with begin(concurrency=1) as live`."""

    @contextmanager
    def begun(*, api_keys: Iterable[str] = (), script: Any = None, **batches: Any) -> Iterator[Live]:
        settings = place | {"batches": place.get("batches", {}) | batches}
        with start(script=script, api_keys=list(api_keys), **settings) as live:
            yield live

    return begun


@pytest.fixture
def contents(place: dict[str, Any]) -> Callable[[], list[str]]:
    """The files whose contents are kept: `contents()`."""

    def kept() -> list[str]:
        if "store" not in place:
            return sorted(path.name for path in (place["batches"]["dir"] / "files").iterdir())
        with psycopg.connect(place["store"]["url"]) as connection:
            rows = connection.execute("SELECT DISTINCT file FROM mull.contents ORDER BY file").fetchall()
        return [name for (name,) in rows]

    return kept


def line(name: str, **body: Any) -> dict[str, Any]:
    """A line of an input file."""
    body = {"model": "mull-tiny", "messages": QUESTION} | body
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def lines(rows: Iterable[Any]) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def upload(client: OpenAI, rows: Iterable[Any], name: str = "input.jsonl") -> FileObject:
    return client.files.create(file=(name, lines(rows)), purpose="batch")


def create(client: OpenAI, rows: Iterable[Any], **options: Any) -> Batch:
    """Upload lines and begin a batch of them."""
    settings = {"endpoint": "/v1/chat/completions", "completion_window": "24h"} | options
    return client.batches.create(input_file_id=upload(client, rows).id, **settings)


def over(client: OpenAI, batch: Batch) -> Batch:
    """The batch, when it is over."""
    deadline = time.monotonic() + 60
    while batch.status not in OVER:
        assert time.monotonic() < deadline, batch
        time.sleep(0.02)
        batch = client.batches.retrieve(batch.id)
    return batch


def read(client: OpenAI, name: str | None) -> list[dict[str, Any]]:
    """The lines of an output or error file."""
    assert name is not None
    return [json.loads(row) for row in client.files.content(name).text.splitlines()]
