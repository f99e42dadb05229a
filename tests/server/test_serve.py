"""The server as a process: started by `mull serve`, stopped by signals."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Live

MULL = (sys.executable, "-c", "from mull.server.cli import main; main()", "serve", "--host", "127.0.0.1")


class Served:
    """A running `mull serve`."""

    def __init__(self, folder: Path, config: str, port: int = 0) -> None:
        (folder / "mull.toml").write_text(config)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*MULL, "--config", str(folder / "mull.toml"), "--port", str(port)], stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def url(self) -> str:
        """Where it listens, as soon as it does."""
        while (found := re.search(r"listening on (http://\S+),", self.log)) is None:
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        return found[1]


@pytest.fixture
def stopping() -> Iterator[list[Served]]:
    """Servers put here are gone after the test."""
    servers: list[Served] = []
    yield servers
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_in_front_of_another_until_a_signal(
    live: Live, tmp_path: Path, stopping: list[Served], number: signal.Signals
) -> None:
    served = Served(tmp_path, f'[models.far]\nurl = "{live.url}"\nserved_as = "mull-tiny+best_of_n"')
    stopping.append(served)
    with httpx.Client(base_url=served.url(), timeout=30) as http:
        while http.get("/ready").status_code != 200:
            time.sleep(0.05)
        ask = {"model": "far+majority_vote", "messages": [{"role": "user", "content": "What?"}]}
        done = http.post("/v1/chat/completions", json=ask).json()
    assert done["choices"][0]["message"]["content"] == "One and one\n\\boxed{2}"
    assert done["ttc"]["engine_calls"] == 16
    served.process.send_signal(number)
    assert served.process.wait(30) == 0, served.log


def test_a_model_that_cannot_be_reached_ends_it(tmp_path: Path, stopping: list[Served]) -> None:
    served = Served(tmp_path, '[models.far]\nurl = "http://127.0.0.1:9"')
    stopping.append(served)
    assert served.process.wait(30) == 1
    assert "cannot start" in served.log
    assert "Traceback" not in served.log


def test_a_key_that_is_not_set_is_named(tmp_path: Path, stopping: list[Served]) -> None:
    served = Served(tmp_path, '[models.far]\nurl = "http://127.0.0.1:9"\napi_key_env = "MULL_TEST_NO_KEY"')
    stopping.append(served)
    assert served.process.wait(30) == 1
    assert "models.far.api_key_env: MULL_TEST_NO_KEY is not set" in served.log


def test_a_port_that_is_taken_ends_it_at_once(tmp_path: Path, stopping: list[Served]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        served = Served(tmp_path, '[models.a]\npath = "nowhere"', port=taken.getsockname()[1])
        stopping.append(served)
        assert served.process.wait(30) == 1
    assert "address already in use" in served.log.lower()
