"""How engines are started again; with real ones in test_launch.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

import mull.engines.supervised as module
from mull.engines.supervised import Supervised
from mull.errors import EngineUnavailable


class Engines:
    """Starts engines that die when they are told to."""

    def __init__(self) -> None:
        self.started: list[Any] = [self.new()]
        self.stopped: list[Any] = []
        self.broken = False
        self.attempts = 0

    def new(self) -> Any:
        return SimpleNamespace(errored=False)

    async def start(self) -> Any:
        self.attempts += 1
        if self.broken:
            raise EngineUnavailable("no memory")
        self.started.append(self.new())
        return self.started[-1]

    async def stop(self, engine: Any) -> None:
        self.stopped.append(engine)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH", 0.01)
    monkeypatch.setattr(module, "PATIENCE", 5.0)


async def test_a_dead_engine_is_ended_and_replaced() -> None:
    engines = Engines()
    supervised = Supervised("x", engines.started[0], start=engines.start, stop=engines.stop)
    assert await supervised.revived()
    assert supervised.restarts == 0
    for number in (1, 2):
        engines.started[-1].errored = True
        assert await supervised.revived()
        assert supervised.restarts == number
        assert supervised.errored is False
    assert await supervised.release() is engines.started[2]
    assert engines.stopped == engines.started[:2]


async def test_who_waits_for_it_is_told_when_it_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    engines = Engines()
    engines.broken = True
    supervised = Supervised("x", engines.started[0], start=engines.start, stop=engines.stop)
    engines.started[0].errored = True
    assert not await supervised.revived()
    engines.broken = False
    monkeypatch.setattr(module, "PATIENCE", 5.0)
    assert await supervised.revived()
    await supervised.release()


async def test_pauses_grow_while_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noting(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr("mull.engines.supervised.asyncio.sleep", noting)
    engines = Engines()
    engines.broken = True
    supervised = Supervised("x", engines.started[0], start=engines.start, stop=engines.stop)
    engines.started[0].errored = True
    async with asyncio.timeout(30):
        while engines.attempts < 8:
            await sleep(0)
    await supervised.release()
    assert [pause for pause in pauses if pause != module.WATCH][:8] == [
        0.0,
        1.0,
        2.0,
        4.0,
        8.0,
        16.0,
        30.0,
        30.0,
    ]


async def test_an_engine_that_is_just_starting_is_not_left_behind() -> None:
    engines = Engines()
    begun, going = asyncio.Event(), asyncio.Event()

    async def start() -> Any:
        begun.set()
        await going.wait()
        return await engines.start()

    supervised = Supervised("x", engines.started[0], start=start, stop=engines.stop)
    engines.started[0].errored = True
    await begun.wait()
    releasing = asyncio.create_task(supervised.release())
    await asyncio.sleep(0)
    going.set()
    assert await releasing is engines.started[1]


async def test_whatever_keeps_it_from_starting_it_is_tried_again() -> None:
    engines = Engines()
    tries = 0

    async def start() -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("dead on arrival")
        return await engines.start()

    supervised = Supervised("x", engines.started[0], start=start, stop=engines.stop)
    engines.started[0].errored = True
    assert await supervised.revived()
    assert tries == 2
    await supervised.release()
