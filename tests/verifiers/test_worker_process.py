"""A worker with a model in a process of its own, through its life and its two deaths."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mull.errors import VerifierUnavailable
from mull.verifiers.remote import RemoteVerifier

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

Make = Callable[..., Any]

SERVE = """
import asyncio, sys
from mull.verifiers.worker import serve_worker
asyncio.run(serve_worker(sys.argv[1], "prm", port=int(sys.argv[2]), name="steps"))
"""
TEXT = "Add them.\n2 + 3 = 5\nThe answer is \\boxed{5}."


@contextmanager
def worker(model: Path) -> Iterator[tuple[str, psutil.Popen]]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    process = psutil.Popen([sys.executable, "-c", SERVE, str(model), str(port)], stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.is_running():
            process.kill()
        process.wait()


async def healthy(remote: RemoteVerifier, process: psutil.Popen) -> None:
    while True:
        assert process.poll() is None, "the worker ended"
        try:
            return await remote.check()
        except VerifierUnavailable:
            await asyncio.sleep(0.2)


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def gone(processes: list[psutil.Process]) -> None:
    async with asyncio.timeout(60):
        while any(map(alive, processes)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_worker_with_a_model(models: Path, task: Make, candidate: Make, byte_level: Any) -> None:
    from mull.verifiers.reading import fingerprint

    with worker(models / "prm") as (url, first), worker(models / "prm") as (other, second):
        remote = RemoteVerifier("far", [url, other], kind="process", tokenizer=fingerprint(byte_level))
        for each, process in ((url, first), (other, second)):
            alone = RemoteVerifier("far", [each], kind="process")
            await healthy(alone, process)
            await alone.close()
        ids = tuple(byte_level.encode(TEXT))
        (plain,) = await remote.score(task(), [candidate(TEXT)])
        (again,) = await remote.score(task(), [candidate(TEXT, ids=ids)])
        assert len(plain.steps) == 3
        assert plain.tokens > 0
        assert (again.value, again.steps, again.tokens) == (plain.value, plain.steps, 0)
        async with httpx.AsyncClient() as client:
            told = [(await client.get(each + "/metrics")).text for each in (url, other)]
        # Both times it was the same one, wherever the conversation is at home.
        [at] = [n for n, text in enumerate(told) if 'mull_verifier_requests_total{status="200"} 2.0' in text]
        assert "vllm:" in told[at]
        first, second = (first, second) if at == 0 else (second, first)

        engines = first.children(recursive=True)
        assert engines, "the model runs in a child"
        first.kill()
        first.wait()
        (elsewhere,) = await remote.score(task(), [candidate(TEXT, ids=ids)])
        assert elsewhere.steps == pytest.approx(plain.steps, abs=1e-5)
        await gone(engines)

        engines = second.children(recursive=True)
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) in (0, -signal.SIGTERM)
        await gone(engines)
        with pytest.raises(VerifierUnavailable) as caught:
            await remote.score(task(), [candidate(TEXT)])
        assert caught.value.name == "far"
        await remote.close()
