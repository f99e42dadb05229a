"""Mixed traffic for a long time: memory and file descriptors stay, and nothing fails that should not."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from benchmarks.reliability.figures import Held, quantiles, require, slope, table, watching
from benchmarks.reliability.servers import Server, at_work, serving
from benchmarks.reliability.traffic import Outcome, ask, body, counted, crowd, questions
from benchmarks.reliability.wire import leave, send

SKIP = 0.25
"""Part of the time after which memory has to be steady: caches fill in the beginning."""
MEGABYTES_AN_HOUR = 60.0
"""Growth of a process that is still called steady, by the slope of its private memory."""
BAD = (
    {"model": "mull-tiny"},
    {"model": "nobody", "messages": [{"role": "user", "content": "hi"}]},
    {"model": "mull-tiny", "messages": [{"role": "user", "content": "hi"}], "ttc": {"strategy": "magic"}},
    {"model": "mull-tiny", "messages": [{"role": "user", "content": "hi"}], "temperature": "hot"},
    {"model": "mull-tiny", "messages": [{"role": "user", "content": "long " * 20_000}]},
)


def options(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument(
        "--clients", type=int, default=8, help="at a time; each does one thing after the other"
    )
    parser.add_argument("--scripted", action="store_true", help="a scripted model instead of vLLM")


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    questions()
    with TemporaryDirectory(prefix="mull-soak-") as folder:
        variables = {"MULL_TRACES__DIR": f"{folder}/traces", "MULL_BATCHES__DIR": f"{folder}/batches"}
        async with (
            serving(scripted=options.scripted, folder=Path(folder), variables=variables) as server,
            crowd() as session,
        ):
            traffic = Traffic(server, session)
            await asyncio.gather(*(ask(session, server, body(traffic.rng)) for _ in range(50)))
            async with watching(server.processes, period=5.0) as held:
                until = time.monotonic() + 60 * options.minutes
                async with asyncio.TaskGroup() as group:
                    for _ in range(options.clients):
                        group.create_task(traffic.go_on(until))
            _report(traffic, held)
            await asyncio.sleep(2)
            left = await at_work(session, server)
            log = server.log.read_text()
            _judge(traffic, held, left, log)


class Traffic:
    """What clients do, by chance one of several things after the other."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.rng = random.Random(0)
        self.outcomes: list[Outcome] = []
        self.bad: Counter[int] = Counter()
        self.left = 0
        self.batches: Counter[str] = Counter()
        self._server = server
        self._session = session

    async def go_on(self, until: float) -> None:
        """Do one thing after the other."""
        things: dict[Callable[[], Awaitable[None]], float] = {
            self._ask: 0.7, self._leave: 0.12, self._misuse: 0.12, self._look: 0.04, self._batch: 0.02
        }  # fmt: skip
        while time.monotonic() < until:
            (thing,) = self.rng.choices(list(things), list(things.values()))
            await thing()

    async def _ask(self) -> None:
        self.outcomes.append(await ask(self._session, self._server, body(self.rng)))

    async def _leave(self) -> None:
        connection = await send(self._server, body(self.rng))
        await asyncio.sleep(self.rng.uniform(0, 1))
        leave(connection)
        self.left += 1

    async def _misuse(self) -> None:
        url = self._server.url + "/v1/chat/completions"
        async with self._session.post(url, json=self.rng.choice(BAD)) as response:
            await response.read()
            self.bad[response.status] += 1

    async def _look(self) -> None:
        for path in ("/metrics", "/v1/models", "/v1/ttc/running", "/v1/ttc/verifiers", "/ready"):
            async with self._session.get(self._server.url + path) as response:
                await response.read()

    async def _batch(self) -> None:
        lines = [
            {"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions",
             "body": body(self.rng, stream=False)}
            for i in range(4)
        ]  # fmt: skip
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", "".join(json.dumps(line) + "\n" for line in lines), filename="lines.jsonl")
        file = await self._json("POST", "/v1/files", data=form)
        asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = await self._json("POST", "/v1/batches", json=asked)
        while batch["status"] not in ("completed", "failed", "expired", "cancelled"):
            await asyncio.sleep(0.5)
            batch = await self._json("GET", f"/v1/batches/{batch['id']}")
        failed = batch["request_counts"]["failed"]
        self.batches[f"{batch['status']}{f', {failed} lines failed' if failed else ''}"] += 1

    async def _json(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        async with self._session.request(method, self._server.url + path, **given) as response:
            found: dict[str, Any] = await response.json()
            return found


def _report(traffic: Traffic, held: Held) -> None:
    answered = [o for o in traffic.outcomes if o.whole]
    print(f"{held.seconds[-1] / 60:.1f} minutes: {counted(traffic.outcomes)}")
    print(f"left in the middle: {traffic.left}; bad requests: {dict(sorted(traffic.bad.items()))}; ", end="")
    print(f"batches of 4: {dict(traffic.batches)}")
    table(
        ("answers", "p50, s", "p90, s", "p99, s", "most, s"),
        [(len(answered), *quantiles([o.seconds for o in answered]).values())],
    )
    rows = []
    for name in held.memory:
        memory, files = held.points(held.memory, name, SKIP), held.points(held.files, name, SKIP)
        rows.append(
            (
                name,
                *_quarters(held.memory[name]),
                f"{3600 * slope(memory):+.0f}",
                *_quarters(held.files[name]),
                f"{3600 * slope(files):+.0f}",
            )
        )
    times = ("at first", "25 %", "50 %", "75 %", "100 %")
    table(
        (
            "process",
            *(f"MB {at}" for at in times),
            "an hour",
            *(f"descriptors {at}" for at in times),
            "an hour",
        ),
        rows,
    )


def _quarters(values: Sequence[float]) -> list[str]:
    """The values at the beginning, after each quarter, and at the end."""
    return [f"{values[min(len(values) - 1, part * len(values) // 4)]:.0f}" for part in range(5)]


def _judge(traffic: Traffic, held: Held, left: dict[str, float], log: str) -> None:
    """Hold what happened against what is promised."""
    require(not any(left.values()), f"nothing is left at work: {left}")
    require(not any(o.lost for o in traffic.outcomes), "each is answered whole or refused as documented")
    require(set(traffic.bad) <= {400, 404}, f"bad requests are refused as such: {traffic.bad}")
    require(set(traffic.batches) <= {"completed"}, f"batches complete: {traffic.batches}")
    wrong = [
        line for line in log.splitlines() if " ERROR " in line or "Traceback" in line or " is lost" in line
    ]
    require(not wrong, f"the log has no errors: {wrong[:3]}")
    for name in held.memory:
        memory = 3600 * slope(held.points(held.memory, name, SKIP))
        require(memory <= MEGABYTES_AN_HOUR, f"{name} keeps its memory: {memory:+.0f} MB an hour")
        files = held.points(held.files, name, SKIP)
        require(3600 * slope(files) <= 30, f"{name} keeps its file descriptors")
