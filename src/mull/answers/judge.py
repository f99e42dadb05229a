"""Algebra and schemas at arm's length: worker processes with limits on time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

from mull.errors import Unavailable

_SCRIPT = Path(__file__).with_name("worker.py")
_IMPORT_SECONDS = 120.0
_WALL = 30.0
"""Wall-clock seconds for each second of processor time allowed: for workers that hang without working."""


class Judge:
    """A few worker processes, each started when it is first needed and replaced when it dies.

    Args:
        workers: How many processes at most.
        seconds: Processor time for one request.
        memory: Address space of a worker, in bytes.
        work: What the workers do: `maths` or `schemas`.
    """

    def __init__(self, *, workers: int, seconds: float, memory: int, work: str = "maths") -> None:
        self._workers = [_Worker(seconds, memory, work) for _ in range(workers)]
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        self._asking: set[asyncio.Task[tuple[Any, float]]] = set()
        for worker in self._workers:
            self._idle.put_nowait(worker)

    async def ask(self, verb: str, *answers: str) -> tuple[Any, float]:
        """The worker's verdict and the processor seconds it took; None for what it could not do in time.

        Raises:
            Unavailable: a worker cannot be started (a library is not installed).
        """
        worker = await self._idle.get()
        # Whoever asks may be cancelled: the worker is busy nevertheless until it has replied.
        asking = asyncio.create_task(worker.ask(verb, *answers))
        self._asking.add(asking)
        asking.add_done_callback(lambda _: self._finish(worker, asking))
        return await asyncio.shield(asking)

    def _finish(self, worker: _Worker, asking: asyncio.Task[tuple[Any, float]]) -> None:
        self._asking.discard(asking)
        self._idle.put_nowait(worker)
        if not asking.cancelled():
            asking.exception()  # retrieved, should nobody wait for it any more

    async def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.closed = True
            await worker.stop()
        await asyncio.gather(*self._asking, return_exceptions=True)
        for worker in self._workers:  # those that were just starting
            await worker.stop()


class _Worker:
    def __init__(self, seconds: float, memory: int, work: str) -> None:
        self._seconds = seconds
        self._arguments = (str(seconds), str(memory), work)
        self._process: Process | None = None
        self.closed = False

    async def ask(self, verb: str, *answers: str) -> tuple[Any, float]:
        for _ in range(2):  # a worker killed from outside gets one successor
            if self.closed:
                break
            process = self._process or await self._start()
            try:
                async with asyncio.timeout(_WALL * self._seconds):
                    return await _exchange(process, [verb, *answers])
            except TimeoutError:
                await self.stop()
                break
            except (EOFError, ConnectionError):
                await self.stop()
        return None, self._seconds

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            str(_SCRIPT),
            *self._arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            start_new_session=True,
        )
        self._process = process
        try:
            async with asyncio.timeout(_IMPORT_SECONDS):
                if await _receive(process) == "ready" and not self.closed:
                    return process
        except (EOFError, TimeoutError):
            pass
        except BaseException:
            await self.stop()
            raise
        await self.stop()
        raise Unavailable("a process that judges answers cannot be started: is math-verify installed?")

    async def stop(self) -> None:
        """Kill the process and its child, whatever they are doing."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            # Its pipes are closed before the loop may be.
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            with contextlib.suppress(ConnectionError):
                await process.stdin.wait_closed()
            with contextlib.suppress(RuntimeError):  # whoever waits for its reply reads to the end
                while await process.stdout.read(1 << 16):
                    pass


async def _exchange(process: Process, request: list[str]) -> tuple[Any, float]:
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    await process.stdin.drain()
    result, seconds = await _receive(process)
    return result, seconds


async def _receive(process: Process) -> Any:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)
