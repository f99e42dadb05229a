"""A real server on a real port over a scripted model."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import pytest
import uvicorn
from openai import AsyncOpenAI, OpenAI

from mull.server.app import create_app
from mull.server.settings import load
from mull.testing import ScriptedGenerator, ScriptedVerifier
from mull.types import Chat, Prompt, Sampling, VerifierKind

UNUSED_TLS = ssl.create_default_context()
QUESTION = [{"role": "user", "content": "What is one plus one?"}]
ANSWERS = (
    "One and one\n\\boxed{2}",
    "One plus one\n\\boxed{3}",
    "One, one\n\\boxed{3}",
    "One and one\n\\boxed{2}",
    "One!\n\\boxed{3}",
)
"""What the scripted model answers to each request, sample by sample."""


class Fixed(ScriptedGenerator):
    """Gives each request the same answers in the same order; a test can hold and break it from outside."""

    def __init__(self, answers: Sequence[str] = ANSWERS, *, continues: bool = True) -> None:
        super().__init__(self._write, pause=self._wait, continues=continues, context=256)
        self.answers = answers
        self.chats: list[Chat] = []
        self.hold = threading.Event()
        """Cleared: generations wait."""
        self.hold.set()
        self.fail: Exception | None = None
        """Raised by the engine after `fail_after_turns` more turns."""
        self.fail_after_turns = 0
        self.turns = 0
        self.hold_at = 0
        """The turn at which `hold` is cleared; 0 for none."""
        self._next = itertools.count()

    async def render(self, chat: Chat) -> Prompt:
        self.chats.append(chat)
        self._next = itertools.count()
        return await super().render(chat)

    def _write(self, text: str, rng: random.Random, sampling: Sampling) -> str:
        fitting = [answer for answer in self.answers if answer.startswith(text)]
        return fitting[next(self._next) % len(fitting)][len(text) :] if fitting else ""

    async def _wait(self) -> None:
        await asyncio.sleep(0)
        self.turns += 1
        if self.turns == self.hold_at:
            self.hold.clear()
        if self.fail is not None:
            self.fail_after_turns -= 1
            if self.fail_after_turns < 0:
                raise self.fail
        while not self.hold.is_set():  # noqa: ASYNC110 (set from another thread)
            await asyncio.sleep(0.005)


def judge(name: str, kind: VerifierKind, *, down: bool) -> ScriptedVerifier:
    """A verifier that likes the answer 2."""
    return ScriptedVerifier(
        lambda text, ended: 0.9 if "2" in text else 0.4, name=name, kind=kind, fail_after=0 if down else None
    )


@dataclass
class Live:
    """A running server and what it runs on."""

    url: str
    script: Fixed

    http: httpx.Client

    @cached_property
    def client(self) -> OpenAI:
        """The stock SDK."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def async_client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def post(self, **body: Any) -> httpx.Response:
        """Ask for a completion, by default of the scripted question."""
        return self.http.post(
            "/v1/chat/completions", json={"model": "mull-tiny", "messages": QUESTION} | body
        )


Start = Callable[..., AbstractContextManager[Live]]


@contextmanager
def run_app(app: Any) -> Iterator[str]:
    """Serve an application on a free port, in a thread."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def live_server(*, script: Fixed | None = None, down: Sequence[str] = (), **settings: Any) -> Iterator[Live]:
    script = script or Fixed()
    judges = {
        "orm": judge("orm", "outcome", down="orm" in down),
        "prm": judge("prm", "process", down="prm" in down),
    }
    configured = {
        "verifiers": {kind: {"kind": kind, "model": "unused"} for kind in judges},
        "defaults": {"verifiers": {"outcome": "orm", "process": "prm"}},
    }
    app = create_app(
        load(None, **(configured | settings)), generators={"mull-tiny": script}, verifiers=judges
    )
    # One TLS context for all: making one costs more than a test.
    with run_app(app) as url, httpx.Client(base_url=url, verify=UNUSED_TLS, timeout=20) as http:
        live = Live(url, script, http)
        yield live
        if "client" in live.__dict__:
            live.client.close()


@pytest.fixture
def start() -> Start:
    """Start a server of one's own: `with start(heartbeat=0.05) as live`."""
    return live_server


@pytest.fixture
def scripted() -> type[Fixed]:
    """The model's class, to make one with other options."""
    return Fixed


@pytest.fixture
def serving() -> Callable[[Any], AbstractContextManager[str]]:
    return run_app


@pytest.fixture(scope="package")
def live() -> Iterator[Live]:
    """One server that many tests share; they leave it as they find it."""
    with live_server() as live:
        yield live
