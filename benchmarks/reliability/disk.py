"""A full disk: searches are answered all the same, what could not be kept is counted, and it recovers.

Traces and batches lie on a file system of their own in memory, which needs the right to make one (`unshare`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from benchmarks.reliability.figures import require
from benchmarks.reliability.servers import SCRIPTED, Server, answering, free_port, metrics, running
from benchmarks.reliability.traffic import Outcome, ask, body, counted, crowd, questions

KEY = "proof"
ADMIN = {"Authorization": f"Bearer {KEY}"}
SIZE = "4m"


def options(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--requests", type=int, default=60, help="in each part")


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    questions()
    with TemporaryDirectory(prefix="mull-disk-") as name:
        folder = Path(name)
        with _small(folder / "small") as small:
            async with _server(folder, small) as server, crowd() as session:
                kept = await _part("room", server, session, options.requests, folder)
                filler = small.root / "filler"
                await asyncio.to_thread(_fill, filler)
                lost = await _part("no room", server, session, options.requests, folder)
                upload, feedback = await _upload(server, session), await _feedback(server, session)
                print(f"uploading a file: {upload}; feedback: {feedback}")
                filler.unlink()
                again = await _part("room again", server, session, options.requests, folder)
                names = await _names(server, session)
            async with _server(folder, small) as server, crowd() as session:
                after = await _names(server, session)
                whole = [await _trace(server, session, each) for each in after]
                print(f"after a restart: {len(after)} traces, {sum(whole)} of them whole")
        logged = await asyncio.to_thread(_logged, folder)
        print(f"lines in the log about lost traces: {sum('lost' in line for line in logged)}")
        require(kept == (options.requests, 0), "with room all is kept")
        require(lost[1] > 0, "what is lost is counted")
        require(sum(lost) == options.requests, "each is kept or counted as lost")
        require(again == (options.requests, 0), "with room again all is kept again")
        require(sorted(names) == sorted(after) and all(whole), "after a restart nothing is half")
        require(not any("lines cannot be read" in line for line in logged), "no half record was found")


def _fill(filler: Path) -> None:
    """Write until there is no room."""
    with filler.open("wb", 0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError as error:
            print(f"the disk is full: {error.strerror}")


def _logged(folder: Path) -> list[str]:
    return [line for path in folder.glob("*.log") for line in path.read_text().splitlines()]


class _small:
    """A small file system in memory, in a namespace of its own."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.place = place

    def __enter__(self) -> _small:
        mount = f'mount -t tmpfs -o size={SIZE} none "$0" && echo mounted && exec sleep 100000'
        command = ("unshare", "-Urm", "sh", "-c", mount, str(self.place))
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        require(
            self._holder.stdout.readline() == "mounted\n", "a file system can be made here (unshare, tmpfs)"
        )
        self.root = Path(f"/proc/{self._holder.pid}/root{self.place}")
        self.inside = ("nsenter", "-t", str(self._holder.pid), "-U", "-m", "--preserve-credentials")
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()


@asynccontextmanager
async def _server(folder: Path, small: _small) -> AsyncIterator[Server]:
    port = free_port()
    log = folder / f"{port}.log"
    variables = {
        "MULL_TRACES__DIR": str(small.place / "traces"),
        "MULL_BATCHES__DIR": str(small.place / "batches"),
        "MULL_ADMIN_KEY": KEY,
        # Else Python would look for the working directory in vain.
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    async with running((*small.inside, *SCRIPTED, "--port", str(port)), log, **variables) as process:
        server = Server(f"http://127.0.0.1:{port}", process, log)
        await answering(server, "/ready")
        yield server


async def _part(
    title: str, server: Server, session: aiohttp.ClientSession, count: int, folder: Path
) -> tuple[int, int]:
    """Ask, and see how many traces are kept and how many are counted as lost."""
    rng = random.Random(0)
    had, lost = len(await _names(server, session)), (await metrics(session, server))["mull_traces_lost_total"]
    outcomes: list[Outcome] = []
    for _ in range(count // 10):
        outcomes += await asyncio.gather(*(ask(session, server, body(rng)) for _ in range(10)))
    for _ in range(100):
        kept = len(await _names(server, session)) - had
        gone = int((await metrics(session, server))["mull_traces_lost_total"] - lost)
        if kept + gone == count:
            break
        await asyncio.sleep(0.1)
    print(f"{title}: answers {counted(outcomes)}; traces kept {kept}, lost {gone}")
    require(all(o.whole for o in outcomes), "searches are answered, whatever the disk does")
    return kept, gone


async def _names(server: Server, session: aiohttp.ClientSession) -> list[str]:
    async with session.get(server.url + "/v1/ttc/traces?limit=1000", headers=ADMIN) as response:
        return [row["id"] for row in (await response.json())["data"]]


async def _trace(server: Server, session: aiohttp.ClientSession, name: str) -> bool:
    async with session.get(f"{server.url}/v1/ttc/traces/{name}", headers=ADMIN) as response:
        found: dict[str, Any] = await response.json()
        return response.status == 200 and bool(found["nodes"])


async def _upload(server: Server, session: aiohttp.ClientSession) -> str:
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", "x" * 2**20, filename="lines.jsonl")
    async with session.post(server.url + "/v1/files", data=form) as response:
        return f"{response.status} {(await response.json())['error']['code']}"


async def _feedback(server: Server, session: aiohttp.ClientSession) -> str:
    (name, *_) = await _names(server, session)
    said = {"trace_id": name, "rating": 1, "comment": "x" * 9000}
    async with session.post(server.url + "/v1/ttc/feedback", json=said) as response:
        return f"{response.status} {json.loads(await response.read()).get('error', {}).get('code', '')}"
