"""Measure 9: how long a server takes until it is ready."""

from __future__ import annotations

import json

from benchmarks.performance.figures import Figure, Found, Spread, Target
from benchmarks.performance.problems import MODELS
from benchmarks.performance.servers import serving, vllm_serving

from mull.server.settings import BUNDLE

TARGET = Target(bound=15, side="at most")


async def measure(rounds: int) -> Found:
    """Mull with three engines, and vLLM's own server with one, in turns."""
    verifiers = {**BUNDLE["verifiers"], "prm": {"kind": "prm", "model": str(MODELS / "prm")}}
    ours, limit = list[float](), list[float]()
    for _ in range(rounds):
        async with serving(MULL_VERIFIERS=json.dumps(verifiers)) as server:
            ours.append(server.ready)
        async with vllm_serving() as server:
            limit.append(server.ready)
    value = Spread.of(ours)
    return Found(
        figures=[
            Figure(
                measure=9,
                what="`mull serve` with three engines, until it is ready",
                value=value,
                unit="s",
                ours=value.median,
                limit=Spread.of(limit).median,
                sides="s",
                target=TARGET,
                note="the limit is vLLM's own server with one engine and the same settings",
            )
        ]
    )
