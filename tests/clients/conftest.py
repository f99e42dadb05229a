"""The servers of the wire tests, and the client to talk to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from tests.server.conftest import Fixed, Live, live_server

from mull_client import Mull


@pytest.fixture
def start() -> Callable[..., AbstractContextManager[Live]]:
    """Start a server of one's own: `with start(heartbeat=0.05) as live`."""
    return live_server


@pytest.fixture
def scripted() -> type[Fixed]:
    """The model's class, to make one with other options."""
    return Fixed


@pytest.fixture(scope="package")
def live() -> Iterator[Live]:
    """One server that many tests share; they leave it as they find it."""
    with live_server() as live:
        yield live


@pytest.fixture
def client(live: Live) -> Iterator[Mull]:
    """A client of the shared server."""
    with Mull(base_url=f"{live.url}/v1") as client:
        yield client
