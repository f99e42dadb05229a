"""A real server on a real port over a scripted model."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import httpx
import pytest
import uvicorn
from openai import AsyncOpenAI, OpenAI

from mull.errors import InvalidRequest, VerifierUnavailable
from mull.server.app import create_app
from mull.server.settings import load
from mull.types import (
    Candidate,
    Chat,
    Chunk,
    Completion,
    Finish,
    Meter,
    Prompt,
    Sampling,
    Score,
    Task,
    TokenLogprob,
    Usage,
    VerifierKind,
    text_of,
)

UNUSED_TLS = ssl.create_default_context()
QUESTION = [{"role": "user", "content": "What is one plus one?"}]
ANSWERS = (
    ("One", " and", " one", "\n", "\\boxed{", "2", "}"),
    ("One", " plus", " one", "\n", "\\boxed{", "3", "}"),
    ("One", ",", " one", "\n", "\\boxed{", "3", "}"),
    ("One", " and", " one", "\n", "\\boxed{", "2", "}"),
    ("One", "!", "\n", "\\boxed{", "3", "}"),
)
"""What the scripted model answers, sample by sample, in tokens."""


@dataclass
class Script:
    """A model that gives scripted answers, sample `i` the i-th."""

    answers: Sequence[Sequence[str]] = ANSWERS
    context: int = 128
    continues: bool = True
    model: str = "scripted"
    hold: threading.Event = field(default_factory=threading.Event)
    """Cleared: generations wait."""
    fail: Exception | None = None
    fail_after: int = 2
    """Tokens of a stream before it fails."""
    in_flight: int = 0
    asked: list[Sampling] = field(default_factory=list)
    chats: list[Chat] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold.set()

    async def render(self, chat: Chat) -> Prompt:
        self.chats.append(chat)
        ids = tuple(range(sum(len(text_of(m.get("content")).split()) for m in chat.messages)))
        if len(ids) >= self.context:
            raise InvalidRequest(
                f"messages: {len(ids)} tokens, more than the context of {self.context}", param="messages"
            )
        return Prompt(chat=chat, ids=ids)

    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        told = 0
        with self._call(prompt, meter) as spent:
            completion = self._completion(prompt, sampling, 0)
            for token in completion.logprobs:
                await self._turn()
                if self.fail is not None and told == self.fail_after:
                    raise self.fail
                told += 1
                spent.append(1)
                yield Chunk(text=token.token, logprobs=(token,) if sampling.logprobs is not None else ())
            yield Chunk(completion=self._shown(completion, sampling))

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        self.asked.append(sampling)
        with self._call(prompt, meter) as spent:
            for index in range(n):
                await self._turn()
                if self.fail is not None:
                    raise self.fail
                completion = self._completion(prompt, sampling, index)
                spent.append(len(completion.ids))
                yield self._shown(completion, sampling)

    @contextmanager
    def _call(self, prompt: Prompt, meter: Meter | None) -> Iterator[list[int]]:
        """One engine request: in flight until left, then billed for the tokens counted in the list."""
        self.in_flight += 1
        spent: list[int] = []
        try:
            yield spent
        finally:
            self.in_flight -= 1
            if meter is not None:
                size = len(prompt.ids or ())
                meter.add(Usage(prompt=size, cached=size // 2, completion=sum(spent)))

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        while not self.hold.is_set():  # noqa: ASYNC110 (set from another thread)
            await asyncio.sleep(0.005)

    def _completion(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        fitting = [a for a in self.answers if "".join(a).startswith(prompt.text)]
        tokens = list(fitting[index % len(fitting)])
        start = 0
        while start < len(prompt.text):
            start += len(tokens.pop(0))
        finish: Finish = "stop"
        if sampling.step is not None and sampling.step in tokens[:-1]:
            tokens, finish = tokens[: tokens.index(sampling.step) + 1], "step"
        if sampling.max_tokens is not None and len(tokens) > sampling.max_tokens:
            tokens, finish = tokens[: sampling.max_tokens], "length"
        return Completion(
            text="".join(tokens),
            ids=tuple(range(len(tokens))),
            finish=finish,
            index=index,
            usage=Usage(prompt=len(prompt.ids or ()), completion=len(tokens)),
            logprobs=tuple(
                TokenLogprob(token=t, id=i, logprob=-0.5, top=((t, i, -0.5), ("?", 99, float("-inf"))))
                for i, t in enumerate(tokens)
            ),
        )

    def _shown(self, completion: Completion, sampling: Sampling) -> Completion:
        return completion if sampling.logprobs is not None else replace(completion, logprobs=())


@dataclass
class Judge:
    """A verifier that likes the answer 2."""

    name: str
    kind: VerifierKind
    down: bool = False

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        if self.down:
            raise VerifierUnavailable(f"verifier {self.name!r} does not answer", name=self.name)
        values = [0.9 if "2" in c.text else 0.4 for c in candidates]
        return [
            Score(value=v, steps=(v,) * len(c.steps) if self.kind == "process" else (), tokens=3)
            for v, c in zip(values, candidates, strict=True)
        ]


@dataclass
class Live:
    """A running server and what it runs on."""

    url: str
    script: Script
    judges: dict[str, Judge]

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
        app, host="127.0.0.1", port=0, log_config=None, ws="none", timeout_graceful_shutdown=2
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
def live_server(*, script: Script | None = None, down: Sequence[str] = (), **settings: Any) -> Iterator[Live]:
    script = script or Script()
    judges = {
        "orm": Judge("orm", "outcome", down="orm" in down),
        "prm": Judge("prm", "process", down="prm" in down),
    }
    app = create_app(load(None, **settings), generators={"mull-tiny": script}, verifiers=judges)
    # One TLS context for all: making one costs more than a test.
    with run_app(app) as url, httpx.Client(base_url=url, verify=UNUSED_TLS, timeout=20) as http:
        live = Live(url, script, judges, http)
        yield live
        if "client" in live.__dict__:
            live.client.close()


@pytest.fixture
def start() -> Start:
    """Start a server of one's own: `with start(heartbeat=0.05) as live`."""
    return live_server


@pytest.fixture
def scripted() -> type[Script]:
    return Script


@pytest.fixture
def serving() -> Callable[[Any], AbstractContextManager[str]]:
    return run_app


@pytest.fixture(scope="package")
def live() -> Iterator[Live]:
    """One server that many tests share; they leave it as they find it."""
    with live_server() as live:
        yield live
