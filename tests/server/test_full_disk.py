"""A disk without room: searches go on, what is lost is counted, nothing half is read."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
from mull.server.network import Timely
from mull.server.settings import load
from mull.testing import ScriptedGenerator, World
settings = load(None, models={"m": {"url": "http://unused"}}, traces={"dir": sys.argv[1]},
                batches={"dir": sys.argv[2]})
logs.configure("info", as_json=False)
app = create_app(settings, generators={"m": ScriptedGenerator(World(depth=4))}, verifiers={})
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", http=Timely)).run([listening])
"""


pytestmark = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="limits of another process are Linux's"
)


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

    def keeps(self, count: int) -> bool:
        return len(self.kept()) == count

    def lacks(self, count: int) -> bool:
        return self.lost() == count

    def say(self, name: str, comment: str) -> httpx.Response:
        said = {"trace_id": name, "comment": comment}
        return self.http.post("/v1/ttc/feedback", json=said, headers=KEY)

    def trace(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/ttc/traces/{name}", headers=KEY).json()
        return found


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[Served]:
    command = [sys.executable, "-c", SERVE, str(folder), str(folder.parent / "batches")]
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
            # It has started when it answers.
            assert http.get("/ready").status_code == 200
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


def test_traces(tmp_path: Path) -> None:
    folder, log = tmp_path / "traces", tmp_path / "log"
    with serving(folder, log) as server:
        for count in range(1, 4):
            server.ask()
            until(partial(server.keeps, count))
        # What waits to be written is listed as well.
        (file,) = folder.glob("traces-*.jsonl")
        until(lambda: file.read_text().count("\n") == 3)
        # The next one fits by half.
        server.limit(file.stat().st_size + file.stat().st_size // 6)
        for count in range(1, 6):
            server.ask()
            until(partial(server.lacks, count))
        assert len(server.kept()) == 3
        server.limit(resource.RLIM_INFINITY)
        for count in range(4, 7):
            server.ask()
            until(partial(server.keeps, count))
        kept = server.kept()
        assert server.lost() == 5
    assert log.read_text().count("is lost") == log.read_text().count("kept again") == 1
    with serving(folder, log) as server:
        assert server.kept() == kept
        assert all(server.trace(name)["nodes"] for name in kept)
    assert "lines cannot be read" not in log.read_text()


def test_feedback(tmp_path: Path) -> None:
    folder, log = tmp_path / "traces", tmp_path / "log"
    with serving(folder, log) as server:
        server.ask()
        until(partial(server.keeps, 1))
        (name,) = server.kept()
        assert server.say(name, "first").status_code == 200
        # The next one fits by half.
        server.limit((folder / "feedback.jsonl").stat().st_size + 50)
        refused = server.say(name, "x" * 100)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "store_unavailable"
        assert str(tmp_path) not in refused.text
        server.limit(resource.RLIM_INFINITY)
        assert server.say(name, "last").status_code == 200
    with serving(folder, log) as server:
        assert [said["comment"] for said in server.trace(name)["feedback"]] == ["last"]
    assert len((folder / "feedback.jsonl").read_text().splitlines()) == 2


def test_uploads(tmp_path: Path) -> None:
    with serving(tmp_path / "traces", tmp_path / "log") as server:
        server.limit(10_000)
        sent = {"file": ("a.jsonl", b"x" * 50_000)}, {"purpose": "batch"}
        refused = server.http.post("/v1/files", files=sent[0], data=sent[1])
        assert refused.status_code == 503, refused.text
        assert refused.json()["error"]["code"] == "store_unavailable"
        assert server.http.get("/v1/files").json()["data"] == []
        server.limit(resource.RLIM_INFINITY)
        assert server.http.post("/v1/files", files=sent[0], data=sent[1]).status_code == 200
    assert len(list((tmp_path / "batches" / "files").iterdir())) == 1
