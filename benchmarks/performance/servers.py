"""Servers in processes of their own: mull's, and vLLM's own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import aiohttp
import psutil
from benchmarks.performance.problems import MODELS, MULL

from mull.engines.launch import on_cpu

START, END = 600.0, 60.0
"""Seconds that a server may take to start, and to end."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server."""

    url: str
    process: psutil.Process
    ready: float
    """Seconds until it was ready."""


@asynccontextmanager
async def serving(**variables: str) -> AsyncIterator[Server]:
    """Mull; without variables it has the bundled models.

    Args:
        variables: Of its environment.
    """
    port = free_port()
    command = (*MULL, "serve", "--host", "127.0.0.1", "--port", str(port))
    async with started(command, port, "/ready", variables) as server:
        yield server


@asynccontextmanager
async def vllm_serving(chat_template: Path | None = None) -> AsyncIterator[Server]:
    """VLLM's own server with the bundled policy, and with the settings of mull's engines.

    Args:
        chat_template: In place of the policy's.
    """
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--model", str(MODELS / "policy"), "--served-model-name", "mull-tiny", "--port", str(port)]
    command += ["--chat-template", str(chat_template)] if chat_template else []
    variables = {"VLLM_LOGGING_LEVEL": "ERROR"}
    if on_cpu():
        command += ["--dtype", "float32", "--enforce-eager", "--block-size", "32"]
        command += ["--no-enable-chunked-prefill", "--kv-cache-memory-bytes", str(2**27)]
        variables |= {"OMP_NUM_THREADS": "1", "TORCH_COMPILE_DISABLE": "1"}
        variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    async with started(command, port, "/health", variables) as server:
        yield server


@asynccontextmanager
async def started(
    command: Sequence[str], port: int, path: str, variables: dict[str, str]
) -> AsyncIterator[Server]:
    """A process that answers 200 at `path`, asked to end in the end.

    Raises:
        RuntimeError: it ended before.
        TimeoutError: it does not answer.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MULL_")}
    with TemporaryFile() as log:
        began = time.perf_counter()
        popen = subprocess.Popen(  # noqa: ASYNC220 (it returns at once)
            command, stdout=log, stderr=log, start_new_session=True, env=clean | variables
        )
        url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(START), aiohttp.ClientSession() as session:
                while not await _answers(session, url + path):
                    if popen.poll() is not None:
                        log.seek(0)
                        raise RuntimeError(f"it has ended:\n{log.read()[-3000:].decode()}")
                    await asyncio.sleep(0.05)
            yield Server(url=url, process=psutil.Process(popen.pid), ready=time.perf_counter() - began)
        finally:
            popen.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(popen.wait, END)
            except subprocess.TimeoutExpired:
                os.killpg(popen.pid, signal.SIGKILL)
                popen.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with session.get(url, timeout=aiohttp.ClientTimeout(5)) as response:
            return response.status == 200
    return False


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
