"""Clients: what they ask, and what became of it."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import aiohttp
from benchmarks.reliability.servers import MULL, Server

STRATEGIES: Sequence[tuple[float, Mapping[str, Any]]] = (
    (0.4, {"strategy": "single"}),
    (0.25, {"strategy": "majority_vote", "n": 4}),
    (0.2, {"strategy": "best_of_n", "n": 4}),
    (0.15, {"strategy": "beam_search", "width": 2, "expand": 2}),
)
"""What clients ask for, and how often."""

PATIENCE = 300.0
"""Seconds that a client waits for an answer."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a request."""

    status: int
    """0 where there was none: the connection broke, or the client ran out of patience."""
    code: str = ""
    whole: bool = False
    """Whether a complete answer came: JSON with a finish reason, or a stream with one and its end."""
    seconds: float
    first: float | None = None
    """Seconds until a stream's first byte."""
    retry_after: float | None = None
    """Seconds after which it may come again, where it was told."""
    streamed: bool = False

    @property
    def refused(self) -> bool:
        """Whether it was refused as the documentation says: 429 or 503, and when to come again."""
        return self.status in (429, 503) and self.retry_after is not None

    @property
    def lost(self) -> bool:
        """Whether it is neither answered nor refused."""
        return not (self.whole or self.refused)

    @property
    def name(self) -> str:
        """What it is counted under."""
        if self.whole:
            return "200"
        return f"{self.status or 'broken'} {self.code}".strip()


@cache
def questions() -> Sequence[str]:
    """Problems that the bundled model understands."""
    command = [*MULL, "data", "problems", "--seed", "7000", "--count", "64"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line)["question"] for line in lines]


def body(
    rng: random.Random, *, stream: bool | None = None, ttc: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A request, by chance one of several kinds."""
    weights, kinds = zip(*STRATEGIES, strict=True)
    chosen = ttc or rng.choices(kinds, weights)[0]
    return {
        "model": "mull-tiny",
        "messages": [{"role": "user", "content": rng.choice(questions())}],
        "max_tokens": 128,
        "seed": rng.randrange(2**31),
        "stream": rng.random() < 0.5 if stream is None else stream,
        "ttc": dict(chosen),
    }


async def ask(session: aiohttp.ClientSession, server: Server, asked: Mapping[str, Any]) -> Outcome:
    """Send one request and read its answer to the end."""
    began, streamed = time.monotonic(), bool(asked.get("stream"))
    status: int = 0
    first: float | None = None
    retry: float | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            async with session.post(server.url + "/v1/chat/completions", json=asked) as response:
                status, told = response.status, response.headers.get("Retry-After")
                retry = None if told is None else float(told)
                parts = []
                async for data in response.content.iter_any():
                    first = first or time.monotonic() - began
                    parts.append(data)
        whole, code = _read(b"".join(parts), streamed=streamed and status == 200)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        whole, code = False, type(error).__name__
    return Outcome(
        status=status,
        code=code,
        whole=whole and status == 200,
        seconds=time.monotonic() - began,
        first=first if streamed else None,
        retry_after=retry,
        streamed=streamed,
    )


def _read(answer: bytes, *, streamed: bool) -> tuple[bool, str]:
    """Whether an answer is whole, and the code of its error."""
    if not streamed:
        found = json.loads(answer)
        if "error" in found:
            return False, str(found["error"]["code"])
        return bool(found["choices"][0]["finish_reason"]), ""
    lines = [line[6:] for line in answer.decode().splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    errors = [str(event["error"]["code"]) for event in events if "error" in event]
    ended = [c["finish_reason"] for e in events for c in e.get("choices", ()) if c.get("finish_reason")]
    return bool(ended) and not errors and lines[-1:] == ["[DONE]"] and len(lines) == len(events) + 1, "".join(
        errors
    )


def crowd() -> aiohttp.ClientSession:
    """A session for any number of connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    )


def counted(outcomes: Iterable[Outcome]) -> str:
    """How many came to what."""
    counts = Counter(outcome.name for outcome in outcomes)
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
