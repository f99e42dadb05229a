"""A real server on a real port over the scripted world, and the command line to talk to it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from mull.server.app import create_app
from mull.server.cli import app
from mull.server.settings import load
from mull.testing import ScriptedGenerator, ScriptedVerifier, World

WORLD = World(depth=3, branches=3, skill=0.6)
"""Greedy is right, one sample is right in a fifth of the cases, a verifier knows all."""


@dataclass
class Served:
    """A running server and its model."""

    url: str
    model: ScriptedGenerator


class Gate:
    """Lets a model come so far and no further until it is opened."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.open = threading.Event()
        self.taken = 0

    async def __call__(self) -> None:
        await asyncio.sleep(0)
        self.taken += 1
        while self.taken > self.turns and not self.open.is_set():  # noqa: ASYNC110 (set from another thread)
            await asyncio.sleep(0.005)


Start = Callable[..., AbstractContextManager[Served]]


@contextmanager
def started(*, down: bool = False, model: Any = None, **settings: Any) -> Iterator[Served]:
    """Serve the world.

    Args:
        down: Whether its verifiers are.
        model: Another model than the world's own.
        settings: Of the server.
    """
    model = model or ScriptedGenerator(WORLD)
    fail_after = 0 if down else None
    verifiers = {
        "orm": ScriptedVerifier.perfect(WORLD, name="orm", kind="outcome", fail_after=fail_after),
        "prm": ScriptedVerifier.perfect(WORLD, name="prm", kind="process", fail_after=fail_after),
    }
    with serving(
        create_app(load(None, **settings), generators={model.model: model}, verifiers=verifiers)
    ) as url:
        yield Served(url, model)


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """The API's URL of an ASGI application served in a thread on a free port."""
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def start() -> Start:
    """Start a server of one's own: `with start(down=True) as served`."""
    return started


@pytest.fixture(scope="session")
def shared() -> Iterator[Served]:
    """One server for all tests that do not count its calls."""
    with started() as served:
        yield served


@pytest.fixture
def served() -> Iterator[Served]:
    """A server of one's own."""
    with started() as served:
        yield served


@pytest.fixture
def mull(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line: `mull("ask", "how many?")`."""
    for name in ("MULL_URL", "MULL_API_KEY", "MULL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Twelve problems, four of each number of steps."""
    path = tmp_path / "problems.jsonl"
    rows = [
        {"question": f"How many? ({i})", "answer": WORLD.reference, "n_steps": 1 + i % 3} for i in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
