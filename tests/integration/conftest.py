"""One real server with the bundled models and a verifier worker, started once for all tests that need it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.request import urlopen

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI

from mull.server.settings import BUNDLE

MODELS = Path(__file__).parents[2] / "models"
OWNERS = ((3, "Ada"), (5, "Ben"), (7, "Cleo"))
START = 600
"""Seconds that a server may take to start: a minute would do, but test machines are busy."""
MULL = (sys.executable, "-c", "from mull.server.cli import main; main()")
"""The `mull` command of this environment."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These tests are slow and real."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(2 * START))


@dataclass
class Process:
    """A process started by a test, with all that it started itself."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def kill(self) -> None:
        """End it at once, with its children."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end and return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(START)
        finally:
            if self.alive:
                self.kill()

    @property
    def alive(self) -> bool:
        """Whether it or one of its children lives."""
        self.process.poll()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@dataclass
class Server(Process):
    """The server under test."""

    worker: Process

    @cached_property
    def http(self) -> httpx.Client:
        """A connection without the SDK."""
        return httpx.Client(base_url=self.url, timeout=START)

    @cached_property
    def client(self) -> OpenAI:
        """The stock SDK."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=START)

    def async_client(self) -> AsyncOpenAI:
        """The stock SDK, asynchronous."""
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=START)

    def metric(self, name: str) -> float:
        """One of vLLM's own metrics of the policy's engine."""
        text = self.http.get("/metrics").text
        found = re.search(rf'^{name}{{[^}}]*model_name="mull-tiny"[^}}]*}} (\S+)$', text, re.MULTILINE)
        assert found is not None, f"{name} is missing"
        return float(found[1])


def wait_until(condition: Callable[[], bool], process: Process | None = None, seconds: float = START) -> None:
    """Wait for a condition; fail when it does not come true, or when a process dies meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.process.poll() is not None:
            pytest.fail(f"the process died:\n{process.log.read_text()[-5000:]}")
        if time.monotonic() > deadline:
            log = "" if process is None else process.log.read_text()[-5000:]
            pytest.fail(f"it did not happen in time\n{log}")
        time.sleep(0.05)


def answers(url: str, path: str) -> bool:
    """Whether a server answers 200."""
    try:
        with urlopen(url + path, timeout=START) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@contextmanager
def running(log: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the `mull` command in a process group of its own, with more environment variables."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MULL_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*MULL, *arguments],
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=clean | variables,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def bundled(folder: Path) -> Iterator[Server]:
    """The server, ready, with its worker: the fixture `server` of all tests."""
    wanted = ("policy", "solver", "orm", "prm")
    missing = [name for name in wanted if not (MODELS / name / "config.json").is_file()]
    if missing:
        pytest.skip(f"THE BUNDLED MODELS ARE MISSING: {', '.join(missing)}; nothing real is being tested")
    port, own = free_port(), free_port()
    worker_url = f"http://127.0.0.1:{port}"
    facts = folder / "facts.jsonl"
    facts.write_text("".join(json.dumps({"text": f"{name} owns {n} eggs."}) + "\n" for n, name in OWNERS))
    # What is served without any configuration, two more verifiers, and a retriever.
    verifiers = {
        **BUNDLE["verifiers"],
        "prm": {"kind": "prm", "model": str(MODELS / "prm")},
        "worker": {"kind": "remote", "urls": [worker_url], "judges": "outcome"},
    }
    worker_arguments = ("verifier", "--model", str(MODELS / "orm"), "--kind", "orm", "--port", str(port))
    with running(folder / "worker.log", *worker_arguments) as worker_process:
        worker = Process(worker_process, folder / "worker.log", worker_url)
        wait_until(lambda: answers(worker.url, "/health"), worker)
        arguments = ("serve", "--host", "127.0.0.1", "--port", str(own))
        settings = {
            "MULL_VERIFIERS": json.dumps(verifiers),
            "MULL_RETRIEVERS": json.dumps({"facts": {"kind": "bm25", "path": str(facts)}}),
        }
        with running(folder / "server.log", *arguments, **settings) as process:
            server = Server(process, folder / "server.log", f"http://127.0.0.1:{own}", worker)
            wait_until(lambda: answers(server.url, "/health"), server)
            wait_until(lambda: answers(server.url, "/ready"), server)
            yield server
            server.http.close()
            server.client.close()
            assert server.stop() == 0, server.log.read_text()[-5000:]
            assert not server.alive, "the server left processes behind"


@contextmanager
def serving_alone(folder: Path, **variables: str) -> Iterator[Process]:
    """A server of one's own, ready, configured by environment variables."""
    port = free_port()
    log = folder / "server.log"
    with running(log, "serve", "--host", "127.0.0.1", "--port", str(port), **variables) as process:
        server = Process(process, log, f"http://127.0.0.1:{port}")
        wait_until(lambda: answers(server.url, "/ready"), server)
        yield server
        assert server.stop() == 0, log.read_text()[-5000:]
        assert not server.alive, "the server left processes behind"


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Process]]:
    """Start a server of one's own: `with serving(folder, MULL_PORT=...) as process`."""
    return serving_alone


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition: `until(condition, process, seconds=...)`."""
    return wait_until


@pytest.fixture(scope="session")
def ask() -> list[dict[str, str]]:
    """A conversation that the bundled policy understands: one of its short problems, unseen in training."""
    command = [*MULL, "data", "problems", "--seed", "20251", "--count", "20"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    problem = min(map(json.loads, lines), key=lambda p: (len(p["steps"]), p["question"]))
    return [{"role": "user", "content": problem["question"]}]
