"""SIGTERM: nothing new, and nothing that runs is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.server.test_serve import Served

if TYPE_CHECKING:
    from tests.server.conftest import Fixed, Live, Start

ASK = {"model": "far", "messages": [{"role": "user", "content": "What is one plus one?"}]}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stalling(scripted: type[Fixed]) -> Fixed:
    """A script of which only the first calls are answered until it is told otherwise."""

    class Stalling(scripted):  # type: ignore[misc, valid-type]
        free = 1_000_000
        stalled = 0

        async def stream(self, *given: Any, **more: Any) -> AsyncIterator[Any]:
            await self._enter()
            async for chunk in super().stream(*given, **more):
                yield chunk

        async def sample(self, *given: Any, **more: Any) -> AsyncIterator[Any]:
            await self._enter()
            async for completion in super().sample(*given, **more):
                yield completion

        async def _enter(self) -> None:
            self.free -= 1
            if self.free < 0:
                self.stalled += 1
                try:
                    await asyncio.Event().wait()
                finally:
                    self.stalled -= 1

    return Stalling()


@pytest.fixture
def served(start: Start, scripted: type[Fixed], tmp_path: Path) -> Iterator[Any]:
    """Starts `mull serve` before a scripted server: the process, its URL, and the script."""
    servers: list[Served] = []
    with start(script=stalling(scripted)) as live:

        def begin(**settings: Any) -> tuple[Served, str, Live]:
            lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
            config = "\n".join([*lines, "[models.far]", f'url = "{live.url}"', 'served_as = "mull-tiny"'])
            served = Served(tmp_path, config)
            servers.append(served)
            url = served.url()
            with httpx.Client(base_url=url) as http:
                until(lambda: http.get("/ready").status_code == 200)
            return served, url, live

        yield begin
        live.script.hold.set()
        for each in servers:
            each.process.kill()
            each.process.wait()


def test_running_requests_finish_and_new_ones_are_refused(served: Any) -> None:
    process, url, live = served(drain=60)
    with ThreadPoolExecutor(2) as pool, httpx.Client(base_url=url, timeout=60) as http:
        live.script.hold.clear()
        whole = pool.submit(httpx.post, f"{url}/v1/chat/completions", json=ASK, timeout=60)
        told = pool.submit(httpx.post, f"{url}/v1/chat/completions", json=ASK | {"stream": True}, timeout=60)
        until(lambda: live.script.in_flight == 2)
        assert http.get("/ready").status_code == 200
        process.process.send_signal(signal.SIGTERM)
        until(lambda: http.get("/ready").status_code == 503)
        assert http.get("/ready").json()["error"]["code"] == "shutting_down"
        assert http.get("/health").status_code == 200
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/batches"):
            refused = http.post(path, json=ASK)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "shutting_down"
            assert refused.headers["retry-after"]
            assert refused.headers["connection"] == "close"
        assert process.process.poll() is None
        live.script.hold.set()
        assert whole.result().json()["ttc"]["stopped"] == "complete"
        assert told.result().text.rstrip().endswith("data: [DONE]")
        assert '"error"' not in told.result().text
    assert process.process.wait(30) == 0, process.log


def test_a_search_returns_the_best_it_has(served: Any) -> None:
    process, url, live = served(drain=1)
    live.script.free = 10
    with ThreadPoolExecutor(3) as pool:
        vote = {"ttc": {"strategy": "majority_vote", "n": 16}}
        voting = pool.submit(httpx.post, f"{url}/v1/chat/completions", json=ASK | vote, timeout=60)
        until(lambda: live.script.stalled == 6)
        one = pool.submit(httpx.post, f"{url}/v1/chat/completions", json=ASK, timeout=60)
        until(lambda: live.script.stalled == 7)
        process.process.send_signal(signal.SIGTERM)
        best, nothing = voting.result(), one.result()
    assert process.process.wait(30) == 0, process.log
    assert best.status_code == 200, best.text
    ttc = best.json()["ttc"]
    assert ttc["stopped"] == "shutdown"
    assert best.json()["choices"][0]["message"]["content"]
    # It had nothing to return.
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (503, "shutting_down")
    until(lambda: live.script.stalled == 0)


def test_a_second_signal_does_not_wait(served: Any) -> None:
    process, url, live = served(drain=3600)
    live.script.hold.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{url}/v1/chat/completions", json=ASK, timeout=60)
        until(lambda: live.script.in_flight == 1)
        process.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/ready").status_code == 503)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(30) == 0, process.log
        assert asked.result().status_code == 503


async def test_a_halt_is_a_deadline_for_all_parts_of_a_run() -> None:
    from mull.budget import Budget, Limits
    from mull.spending import in_time

    whole = Budget(Limits())
    part = whole.child(Limits(tokens=10)).child(Limits(seconds=100))
    begun = asyncio.Event()

    async def work() -> bool:
        async with in_time(part):
            begun.set()
            await asyncio.Event().wait()
        return True

    working = asyncio.create_task(work())
    await begun.wait()
    whole.halt("shutdown")
    assert await asyncio.wait_for(working, 5)
    assert whole.exhausted == part.exhausted == "shutdown"
    assert part.reserve(1, 1) == (0, 0)
    assert part.seconds_left == whole.seconds_left == 0
    assert not whole.deadlines
