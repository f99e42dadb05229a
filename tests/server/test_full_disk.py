"""A disk without room: searches go on, what is lost is counted, nothing half is read."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

KEY = {"Authorization": "Bearer open sesame"}
QUESTION = [{"role": "user", "content": "Take 1, 3 times."}]
SERVE = """
import sys, socket, uvicorn
from mull.server import logs
from mull.server.app import create_app
from mull.server.settings import load
from mull.testing import ScriptedGenerator, World
settings = load(None, models={"m": {"url": "http://unused"}}, traces={"dir": sys.argv[1]})
logs.configure("info", as_json=False)
app = create_app(settings, generators={"m": ScriptedGenerator(World(depth=4))}, verifiers={})
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none")).run([listening])
"""


class Served:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], http: httpx.Client) -> None:
        self.process = process
        self.http = http

    def limit(self, size: int) -> None:
        """Let files grow to this size only; the kernel refuses what is beyond, in the middle of a write."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def ask(self) -> None:
        answer = self.http.post("/v1/chat/completions", json={"model": "m", "messages": QUESTION})
        assert answer.status_code == 200, answer.text

    def kept(self) -> list[str]:
        listed = self.http.get("/v1/ttc/traces?limit=1000", headers=KEY).json()["data"]
        return [row["id"] for row in listed]

    def lost(self) -> int:
        (line,) = [
            x for x in self.http.get("/metrics").text.splitlines() if x.startswith("mull_traces_lost_total ")
        ]
        return int(float(line.split()[1]))

    def trace(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/ttc/traces/{name}", headers=KEY).json()
        return found


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[Served]:
    command = [sys.executable, "-c", SERVE, str(folder)]
    with (
        subprocess.Popen(
            # The log goes through a pipe: it is no file that could be full.
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={"MULL_ADMIN_KEY": "open sesame", "PATH": "/usr/bin:/bin"},
        ) as process,
        httpx.Client(timeout=60) as http,
    ):  # fmt: skip
        assert process.stdout is not None
        try:
            http.base_url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            yield Served(process, http)
        finally:
            process.terminate()
            _, told = process.communicate(timeout=60)
            log.write_text(told)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux's")
def test_traces(tmp_path: Path) -> None:
    folder, log = tmp_path / "traces", tmp_path / "log"
    with serving(folder, log) as server:
        for count in range(1, 4):
            server.ask()
            until(lambda count=count: len(server.kept()) == count)
        (file,) = folder.glob("traces-*.jsonl")
        # The next one fits by half.
        server.limit(file.stat().st_size + file.stat().st_size // 6)
        for count in range(1, 6):
            server.ask()
            until(lambda count=count: server.lost() == count)
        assert len(server.kept()) == 3
        server.limit(resource.RLIM_INFINITY)
        for count in range(4, 7):
            server.ask()
            until(lambda count=count: len(server.kept()) == count)
        kept = server.kept()
        assert server.lost() == 5
    assert "is lost" in log.read_text()
    with serving(folder, log) as server:
        assert server.kept() == kept
        assert all(server.trace(name)["nodes"] for name in kept)
    assert "cannot be read" not in log.read_text()
