"""Servers of one's own, in processes of their own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import psutil

MODELS = Path(__file__).parents[2] / "models"
MULL = (sys.executable, "-c", "from mull.server.cli import main; main()")
"""The `mull` command of this environment."""
SCRIPTED = (sys.executable, "-m", "benchmarks.reliability.scripted")
START = 600.0
"""Seconds that a server may take to start."""
END = 60.0


@dataclass
class Server:
    """A running server."""

    url: str
    process: psutil.Process
    log: Path

    def processes(self) -> dict[str, psutil.Process]:
        """The server's process, and its engines in the order in which they were started."""
        engines = {f"engine {i}": engine for i, engine in enumerate(self.engines(), 1)}
        return {"server": self.process, **engines}

    def engines(self) -> list[psutil.Process]:
        """The processes of its engines, oldest first: what it forked with vLLM in it."""
        with suppress(psutil.Error):
            children = sorted(self.process.children(), key=lambda child: (child.create_time(), child.pid))
            return [child for child in children if _computes(child)]
        return []

    def kill(self) -> None:
        """Kill it at once; its engines end with it."""
        self.process.kill()
        self.process.wait(END)


def _computes(process: psutil.Process) -> bool:
    """Whether a process is an engine of vLLM."""
    try:
        return process.name().startswith("VLLM") and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@asynccontextmanager
async def serving(
    config: str = "",
    *,
    scripted: bool = False,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Server]:
    """A server, ready; without a configuration it has the bundled models.

    Args:
        config: A `mull.toml`.
        scripted: Whether its model is scripted.
        folder: For its log.
        variables: Of its environment.
    """
    port, environment = free_port(), dict(variables or {})
    with TemporaryDirectory(prefix="mull-") as own:
        place = folder or Path(own)
        if config:
            (place / "mull.toml").write_text(config)
            environment["MULL_CONFIG"] = str(place / "mull.toml")
        command = SCRIPTED if scripted else (*MULL, "serve", "--host", "127.0.0.1")
        async with running((*command, "--port", str(port)), place / f"{port}.log", **environment) as process:
            server = Server(f"http://127.0.0.1:{port}", process, place / f"{port}.log")
            await answering(server, "/ready")
            yield server


@asynccontextmanager
async def worker(model: str, kind: str, folder: Path) -> AsyncIterator[Server]:
    """A verifier worker, ready."""
    port = free_port()
    command = (*MULL, "verifier", "--model", str(MODELS / model), "--kind", kind, "--port", str(port))
    async with running(command, folder / f"{port}.log") as process:
        made = Server(f"http://127.0.0.1:{port}", process, folder / f"{port}.log")
        await answering(made, "/health")
        yield made


@asynccontextmanager
async def running(command: Sequence[str], log: Path, **variables: str) -> AsyncIterator[psutil.Process]:
    """A process, asked to end in the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MULL_")}
    with log.open("ab") as output:
        popen = subprocess.Popen(  # noqa: ASYNC220 (returns at once)
            command, stdout=output, stderr=output, start_new_session=True, env=clean | variables
        )
    process = psutil.Process(popen.pid)
    try:
        yield process
    finally:
        popen.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(popen.wait, END)
        except subprocess.TimeoutExpired:
            os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()


async def answering(server: Server, path: str, seconds: float = START) -> None:
    """Wait until a server answers 200.

    Raises:
        RuntimeError: it has ended.
        TimeoutError: it does not.
    """
    async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(server.url + path, timeout=aiohttp.ClientTimeout(5)) as response:
                    if response.status == 200:
                        return
            if not server.process.is_running() or server.process.status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError(f"the server has ended:\n{server.log.read_text()[-3000:]}")
            await asyncio.sleep(0.05)


async def metrics(session: aiohttp.ClientSession, server: Server) -> dict[str, float]:
    """All metrics of a server, each summed over its labels."""
    async with session.get(server.url + "/metrics") as response:
        text = await response.text()
    found: dict[str, float] = {}
    for name, value in re.findall(r"^([\w:]+)(?:{.*})? (\S+)$", text, re.MULTILINE):
        found[name] = found.get(name, 0.0) + float(value)
    return found


async def at_work(session: aiohttp.ClientSession, server: Server) -> dict[str, float]:
    """How many requests run in the server, wait in it, and are unfinished in its engines."""
    found = await metrics(session, server)
    async with session.get(server.url + "/v1/ttc/running") as response:
        listed = len((await response.json())["data"])
    return {
        "running": max(found.get("mull_running", 0.0), listed),
        "waiting": found.get("mull_waiting", 0.0),
        "engine": found.get("vllm:num_requests_running", 0.0)
        + found.get("vllm:num_requests_waiting", 0.0)
        + found.get("mull_scripted_in_flight", 0.0),
    }
