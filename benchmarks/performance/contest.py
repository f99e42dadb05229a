"""The same problems solved in several ways in turns: mull and its neighbours."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from benchmarks.performance.figures import Figure, Target, ratios
from benchmarks.performance.problems import lines

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv-neighbours" / "bin"
TOGETHER, AT_A_TIME = 64, 8
"""Problems in all, and at a time."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What came of some problems."""

    seconds: float
    latencies: Sequence[float]
    right: int

    @property
    def goodput(self) -> float:
        """Right answers in a second."""
        return self.right / self.seconds


Solve = Callable[[int, int], Awaitable[Work]]
"""Solves so many problems, so many at a time."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One way against another."""

    ours: str
    theirs: str
    target: Target | None = None


def configured(model: Mapping[str, Any], prm: Mapping[str, Any] | None) -> dict[str, str]:
    """Variables of mull's environment."""
    settings = {"MULL_MODELS": json.dumps({"mull-tiny": model})}
    return settings | ({"MULL_VERIFIERS": json.dumps({"prm": prm})} if prm else {})


def goodput(measure: int, worked: Mapping[str, Sequence[Work]], pairs: Sequence[Pair]) -> list[Figure]:
    """Right answers in a second, several problems at a time."""
    rates = {name: [work.goodput for work in of] for name, of in worked.items()}
    shares = {name: 100 * sum(w.right for w in of) / (TOGETHER * len(of)) for name, of in worked.items()}
    return [
        Figure(
            measure=measure,
            what=f"{pair.ours}: goodput over {pair.theirs}, {AT_A_TIME} at a time",
            value=ratios(rates[pair.ours], rates[pair.theirs]),
            ours=statistics.median(rates[pair.ours]),
            limit=statistics.median(rates[pair.theirs]),
            sides="right answers/s",
            target=pair.target,
            note=f"{TOGETHER} problems a round; right answers {shares[pair.ours]:.0f} %, "
            f"theirs {shares[pair.theirs]:.0f} %",
        )
        for pair in pairs
    ]


async def in_turns(
    ways: Mapping[str, Solve], rounds: int, problems: int, at_a_time: int
) -> Mapping[str, Sequence[Work]]:
    """Each way once a round, the order turning round each time, after a short one that does not count."""
    worked: dict[str, list[Work]] = {name: [] for name in ways}
    for solve in ways.values():
        await solve(at_a_time, at_a_time)
    for turn in range(rounds):
        for name in ways if turn % 2 else reversed([*ways]):
            worked[name].append(await ways[name](problems, at_a_time))
    return worked


def by_http(session: aiohttp.ClientSession, url: str, extra: Mapping[str, Any]) -> Solve:
    """By an OpenAI-compatible server."""

    async def solve(problems: int, at_a_time: int) -> Work:
        asked = [json.loads(line) for line in lines(problems)]
        latencies, texts = [0.0] * problems, [""] * problems
        waiting, began = iter(range(problems)), time.perf_counter()

        async def worker() -> None:
            for index in waiting:
                started = time.perf_counter()
                messages = [{"role": "user", "content": asked[index]["question"]}]
                body = {"model": "mull-tiny", "messages": messages, **extra}
                async with session.post(url + "/v1/chat/completions", json=body) as response:
                    response.raise_for_status()
                    texts[index] = (await response.json())["choices"][0]["message"]["content"]
                latencies[index] = time.perf_counter() - started

        await asyncio.gather(*(worker() for _ in range(at_a_time)))
        return Work(seconds=time.perf_counter() - began, latencies=latencies, right=right(texts, asked))

    return solve


def right(texts: Sequence[str], problems: Sequence[Mapping[str, Any]]) -> int:
    """How many answers are the problem's."""
    boxed = (re.findall(r"\\boxed\{([^{}]*)\}", text) for text in texts)
    return sum(found[-1:] == [problem["answer"]] for found, problem in zip(boxed, problems, strict=True))
