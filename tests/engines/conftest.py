"""The bundled policy on real vLLM, in this process and as vLLM's own server, each started once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio

from mull.engines.launch import EngineSpec, launch, on_cpu, stop
from mull.engines.remote import RemoteGenerator
from mull.engines.vllm import VLLMGenerator
from mull.types import Chat

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

POLICY = Path(__file__).parents[2] / "models" / "policy"
START = 600
"""Seconds that an engine may take to start: test machines are busy."""


@pytest.fixture(scope="session")
def policy() -> str:
    if not (POLICY / "config.json").is_file():
        pytest.skip("THE BUNDLED POLICY IS MISSING; nothing real is being tested")
    return str(POLICY)


@pytest.fixture(scope="session")
def chat() -> Chat:
    question = "Tom has 3 apples. He buys 4 more and gives 2 away. How many apples does Tom have?"
    return Chat(messages=({"role": "user", "content": question},))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(policy: str) -> AsyncIterator[AsyncLLM]:
    engines = await launch([EngineSpec(name="policy", model=policy)])
    yield engines["policy"]
    await stop(engines)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def local(engine: AsyncLLM) -> VLLMGenerator:
    return VLLMGenerator(engine, model="policy")


@pytest.fixture(scope="session")
def vllm_server(policy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server as vLLM's manual starts it; it may not be ready yet."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        policy,
        "--port",
        str(port),
    ]
    command += ["--host", "127.0.0.1", "--served-model-name", "policy", "--enable-prompt-tokens-details"]
    environment = dict(os.environ)
    if on_cpu():
        command += ["--dtype", "float32", "--enforce-eager", "--block-size", "32"]
        command += ["--kv-cache-memory-bytes", str(2**27)]
        environment |= {"OMP_NUM_THREADS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    yield f"http://127.0.0.1:{port}"
    status = process.poll()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert status is None, f"vLLM's server died:\n{log.read_text()[-5000:]}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def remote(vllm_server: str) -> AsyncIterator[RemoteGenerator]:
    async with asyncio.timeout(START), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(vllm_server + "/health") as response:
                    if response.status == 200:
                        break
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
    remote = await RemoteGenerator.connect(vllm_server, model="policy")
    yield remote
    await remote.close()


@pytest.fixture(params=["vllm", "remote"])
def generator(request: pytest.FixtureRequest) -> VLLMGenerator | RemoteGenerator:
    """Each engine in turn."""
    found = request.getfixturevalue("local" if request.param == "vllm" else "remote")
    assert isinstance(found, VLLMGenerator | RemoteGenerator)
    return found
