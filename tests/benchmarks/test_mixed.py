"""The mixed load: what it consists of, and the clock that it is measured by."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.performance import mixed
from benchmarks.performance.figures import quantile

from mull.answers import Answers
from mull.engines.pool import Pool


class Engine:
    """A process whose time passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.emptied = 0

    async def reset_prefix_cache(self) -> bool:
        self.emptied += 1
        return True

    def cpu_times(self) -> Any:
        return SimpleNamespace(user=self.seconds, system=0.0)


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> list[mixed.Ask]:
    monkeypatch.setattr(mixed, "questions", lambda count: [f"{number}?" for number in range(count)])
    return mixed._asks(0)


def test_each_key_asks_for_its_part(asks: list[mixed.Ask]) -> None:
    found = Counter((ask.key, ask.strategy) for ask in asks)
    assert found == {(key, s): count for key, kinds in mixed.LOAD.items() for s, count in kinds.items()}
    assert all(0 <= ask.at < 1 for ask in asks)
    # The same both ways, others in each round.
    assert asks == mixed._asks(0)
    others = mixed._asks(1)
    assert not {ask.task.chat.question for ask in asks} & {ask.task.chat.question for ask in others}


async def test_the_clock_is_the_engines() -> None:
    engine = Engine()
    clock = mixed.Clock(engine)
    waiting = asyncio.create_task(clock.until(2.0, ["somebody"]))
    await asyncio.sleep(3 * mixed.LOOK)
    assert not waiting.done()
    engine.seconds = 2.5
    await waiting
    assert clock.now == 2.5
    # Nobody is at work: it need not pass.
    await clock.until(10.0, [])
    assert clock.now == 10.0
    engine.seconds += 1
    assert clock.now == 11.0


async def test_latencies_are_kept_by_key(asks: list[mixed.Ask], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, order = Engine(), list[mixed.Ask]()
    serving = mixed.Serving(engine, Pool("mull-tiny"), Answers(), mixed.Clock(engine))

    async def solve(ask: mixed.Ask, placed: bool) -> None:
        order.append(ask)
        engine.seconds += 1

    monkeypatch.setattr(serving, "_solve", solve)
    found = await serving.play(asks, span=1.0, placed=True)
    assert {key: len(each) for key, each in found.items()} == {
        key: sum(kinds.values()) for key, kinds in mixed.LOAD.items()
    }
    assert order == sorted(asks, key=lambda ask: ask.at)
    assert engine.emptied == 1
    assert min(min(each) for each in found.values()) == pytest.approx(1)


def test_quantiles() -> None:
    seconds = [float(number) for number in range(100, 0, -1)]
    assert quantile(seconds, 0.5) == 51
    assert quantile(seconds, 0.95) == 96
    assert quantile([3.0], 0.95) == 3
