"""A real server on a real port over a model that guesses sums, and the command line to talk to it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from mull.errors import VerifierUnavailable
from mull.protocols import Generator, Verifier
from mull.server.app import create_app
from mull.server.cli import app
from mull.server.settings import load
from mull.types import Candidate, Chat, Chunk, Completion, Meter, Prompt, Sampling, Score, Task, Usage, VerifierKind


class Guesser:
    """Adds the numbers of a question, one a step; each sum is off by one in some of the samples.

    The seed decides which, so equal requests get equal answers.
    """

    continues = True
    context = 512

    def __init__(self, model: str = "guesser", slip: float = 0.3) -> None:
        self.model = model
        self.slip = slip
        self.calls = 0

    async def render(self, chat: Chat) -> Prompt:
        return Prompt(chat=chat, ids=tuple(chat.question.encode()))

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        self.calls += 1
        used = Usage()
        try:
            for index in range(n):
                await asyncio.sleep(0)
                completion = self._complete(prompt, sampling, index)
                used += completion.usage
                yield completion
        finally:
            if meter is not None:
                meter.add(used)

    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        async for completion in self.sample(prompt, sampling, meter=meter):
            yield Chunk(text=completion.text)
            yield Chunk(completion=completion)

    def _complete(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        terms = [int(term) for term in re.findall(r"\d+", prompt.chat.question)]
        done = prompt.text.splitlines()
        total = int(done[-1].rpartition("= ")[2]) if done else terms[0]
        greedy = sampling.temperature == 0
        # Not the prompt's hash alone: equal seeds must not make all problems right or wrong together.
        rng = random.Random(f"{prompt.chat.question}/{prompt.text}/{sampling.seed}/{index}")
        text = ""
        for term in terms[len(done) + 1 :]:
            step = f"{total} + {term} = "
            total += term + (not greedy and rng.random() < self.slip)
            text += f"{step}{total}\n"
            if sampling.step:
                return self._as_completion(text, "step", index)
        return self._as_completion(text + f"\\boxed{{{total}}}", "stop", index)

    def _as_completion(self, text: str, finish: Any, index: int) -> Completion:
        ids = tuple(text.encode())
        return Completion(text=text, ids=ids, finish=finish, index=index, usage=Usage(prompt=9, completion=len(ids)))


class Checker:
    """Knows whether each sum is right."""

    def __init__(self, name: str, kind: VerifierKind, *, down: bool = False) -> None:
        self.name = name
        self.kind = kind
        self.down = down

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        if self.down:
            raise VerifierUnavailable(f"verifier {self.name} does not answer", name=self.name)
        return [self._score(candidate.text) for candidate in candidates]

    def _score(self, text: str) -> Score:
        sums = re.findall(r"(\d+) \+ (\d+) = (\d+)", text)
        steps = tuple(0.95 if int(a) + int(b) == int(c) else 0.1 for a, b, c in sums)
        return Score(value=min(steps, default=0.9), steps=steps if self.kind == "process" else (), tokens=len(text))


class Served:
    """A running server and its model."""

    def __init__(self, url: str, model: Guesser) -> None:
        self.url = url
        self.model = model


Start = Callable[..., AbstractContextManager[Served]]


@pytest.fixture
def start() -> Start:
    """Start a server: `with start(slip=0.5) as served`."""

    @contextmanager
    def started(*, slip: float = 0.3, down: bool = False, **settings: Any) -> Iterator[Served]:
        model = Guesser(slip=slip)
        models: dict[str, Generator] = {model.model: model}
        judges: dict[str, Verifier] = {
            "orm": Checker("orm", "outcome", down=down),
            "prm": Checker("prm", "process", down=down),
        }
        with serving(create_app(load(None, **settings), generators=models, verifiers=judges)) as url:
            yield Served(url, model)

    return started


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """The URL of an ASGI application served in a thread on a free port."""
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
def served(start: Start) -> Iterator[Served]:
    with start() as served:
        yield served


@pytest.fixture
def mull(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line: `mull("ask", "1 + 1")`."""
    for name in ("MULL_URL", "MULL_API_KEY", "MULL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Twelve sums of two to four terms."""
    path = tmp_path / "problems.jsonl"
    rows = []
    for i in range(12):
        terms = [i + 1, 2 * i + 3, 7, 11][: 2 + i % 3]
        rows.append({"question": " + ".join(map(str, terms)), "answer": str(sum(terms)), "n_steps": len(terms) - 1})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
