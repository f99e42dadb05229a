"""kill -9 of what a server needs, under load: requests lost, and the time until all is as before."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import psutil
from benchmarks.reliability.figures import require, table
from benchmarks.reliability.servers import MODELS, Server, metrics, serving, worker
from benchmarks.reliability.traffic import Outcome, ask, body, counted, crowd, questions

BEFORE = 8.0
"""Seconds of load before the kill."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A server under load, and what is to be killed."""

    server: Server
    victim: Callable[[], psutil.Process]
    search: Mapping[str, Any] | None = None
    """What is asked for, where it is not a mixture."""


@asynccontextmanager
async def policy(folder: Path) -> AsyncIterator[Scene]:
    """The only engine of the model."""
    async with serving(folder=folder) as server:
        yield Scene(server=server, victim=lambda: server.engines()[0])


@asynccontextmanager
async def verifier(folder: Path) -> AsyncIterator[Scene]:
    """The only engine of the verifier."""
    async with serving(folder=folder) as server:
        search = {"strategy": "beam_search", "width": 2, "expand": 2}
        yield Scene(server=server, victim=lambda: server.engines()[1], search=search)


@asynccontextmanager
async def remote_worker(folder: Path) -> AsyncIterator[Scene]:
    """One of two workers of a verifier."""
    async with worker("orm", "orm", folder) as first, worker("orm", "orm", folder) as second:
        urls = f'urls = ["{first.url}", "{second.url}"]'
        config = f'{_model()}\n[verifiers.far]\nkind = "remote"\njudges = "outcome"\n{urls}\n'
        async with serving(config, folder=folder) as server:
            search = {"strategy": "best_of_n", "n": 4, "verifier": "far"}
            yield Scene(server=server, victim=lambda: first.process, search=search)


@asynccontextmanager
async def replica(folder: Path) -> AsyncIterator[Scene]:
    """One of two engines of the model."""
    async with serving(_model("replicas = 2"), folder=folder) as server:
        search = {"strategy": "majority_vote", "n": 4}
        yield Scene(server=server, victim=lambda: server.engines()[0], search=search)


@asynccontextmanager
async def remote(folder: Path) -> AsyncIterator[Scene]:
    """One of two servers of the model."""
    async with AsyncExitStack() as stack:
        far = []
        for name in ("a", "b"):
            (own := folder / name).mkdir()
            far.append(await stack.enter_async_context(serving(_model(), folder=own)))
        urls = ", ".join(f'"{each.url}"' for each in far)
        config = f"[models.mull-tiny]\nurls = [{urls}]\ncontext = 512\n"
        server = await stack.enter_async_context(serving(config, folder=folder))
        search = {"strategy": "majority_vote", "n": 4}
        yield Scene(server=server, victim=lambda: far[0].process, search=search)


SCENES = {
    "policy": policy,
    "verifier": verifier,
    "worker": remote_worker,
    "replica": replica,
    "remote": remote,
}


def options(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--only", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0, help="of load after the kill")


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    questions()
    lost = {}
    title = ("killed", "requests", "answered", "refused", "lost", "first answer after", "last refusal after",
             "slowest answer", "restarts", "failovers")  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for name in options.only:
        with TemporaryDirectory(prefix="mull-kills-") as folder:
            async with SCENES[name](Path(folder)) as scene, crowd() as session:
                row, lost[name] = await _scene(scene, session, options)
                rows.append((name, *row))
    table(title, rows)
    require(not any(lost.values()), f"no request is lost: {lost}")


async def _scene(
    scene: Scene, session: aiohttp.ClientSession, options: argparse.Namespace
) -> tuple[tuple[object, ...], int]:
    rng, told = random.Random(0), list[tuple[float, Outcome]]()
    until = time.monotonic() + BEFORE + options.seconds

    async def client() -> None:
        while time.monotonic() < until:
            asked = body(rng, ttc=scene.search)
            began = time.monotonic()
            outcome = await ask(session, scene.server, asked)
            told.append((began, outcome))
            if outcome.refused:
                await asyncio.sleep(outcome.retry_after or 0)

    async with asyncio.TaskGroup() as group:
        for _ in range(options.clients):
            group.create_task(client())
        await asyncio.sleep(BEFORE)
        scene.victim().kill()
        killed = time.monotonic()
    after = [(began + o.seconds - killed, o) for began, o in told if began + o.seconds > killed]
    firsts = [at for at, o in after if o.whole and at - o.seconds > 0]
    refusals = [at for at, o in after if o.refused]
    outcomes = [o for _, o in told]
    if lost := [o for o in outcomes if o.lost]:
        print(f"lost: {counted(lost)}")
    found = await metrics(session, scene.server)
    return (
        len(outcomes),
        sum(o.whole for o in outcomes),
        counted(o for o in outcomes if o.refused) or 0,
        len(lost),
        f"{min(firsts):.1f} s" if firsts else "never",
        f"{max(refusals):.1f} s" if refusals else "",
        f"{max((o.seconds for o in outcomes if o.whole), default=0):.1f} s",
        int(found.get("mull_engine_restarts_total", 0)),
        int(found.get("mull_failovers_total", 0)),
    ), len(lost)


def _model(*lines: str) -> str:
    """The bundled model in a configuration of its own."""
    return "\n".join(("[models.mull-tiny]", f'path = "{MODELS / "policy"}"', *lines, ""))
