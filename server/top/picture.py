"""One look at a server: what it runs, on what, and how fast."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mull.server.ask.client import Client
from mull.server.exits import Failure

GENERATED = "vllm:generation_tokens_total"
ENGINE = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "cache",
}
"""vLLM's gauges, and what they are called here; `cache` is a share."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What was seen."""

    at: float
    """Unix time."""
    ready: bool
    problem: str | None = None
    """Why it is not ready."""
    running: list[dict[str, Any]] = field(default_factory=list)
    """Requests that are being solved, as `GET /v1/ttc/running` says."""
    engines: dict[str, dict[str, float]] = field(default_factory=dict)
    """By model: `requests` of ours, `replicas` and how many of them are `up`; of an engine in the server's
    process `running`, `waiting` and `cache`."""
    verifiers: list[dict[str, Any]] = field(default_factory=list)
    generated: float = 0.0
    """Tokens generated since the server started."""
    tokens_per_second: float | None = None
    """Since the picture before."""
    finished: dict[str, int] = field(default_factory=dict)
    """Requests that are over, by status."""


def look(client: Client, admin: Client, before: Picture | None = None) -> Picture:
    """Look at a server.

    Args:
        client: For what every user may see.
        admin: For the requests that run.
        before: The last look, to tell how fast tokens come.

    Raises:
        Failure: nobody answers, or what answers is no mull server.
    """
    at = time.time()
    samples = _samples(client.text("/metrics"))
    try:
        client.text("/ready")
    except Failure as failure:
        return Picture(at=at, ready=False, problem=failure.message)
    running = admin.get("/ttc/running")["data"]
    engines: dict[str, dict[str, float]] = {}
    for name, labels, value in samples:
        if name == "mull_running":
            engines.setdefault(labels["model"], {})["requests"] = value
        elif name == "mull_replica_up":
            gauges = engines.setdefault(labels["model"], {})
            gauges["replicas"] = gauges.get("replicas", 0) + 1
            gauges["up"] = gauges.get("up", 0) + value
        elif name in ENGINE:
            engines.setdefault(labels["model_name"], {})[ENGINE[name]] = value
    generated = _sum(samples, GENERATED)
    if not any(name == GENERATED for name, *_ in samples):
        # Engines elsewhere: what is finished, and what the requests that run have so far.
        generated = _sum(samples, "mull_tokens_total") + sum(row["tokens"] for row in running)
    finished: dict[str, int] = {}
    for name, labels, value in samples:
        if name == "mull_requests_total":
            finished[labels["status"]] = finished.get(labels["status"], 0) + int(value)
    speed = None
    if before is not None and before.ready and at > before.at:
        # A request that ends between two looks, or a restart, must not make it negative.
        speed = max(0.0, generated - before.generated) / (at - before.at)
    return Picture(
        at=at,
        ready=True,
        running=running,
        engines=engines,
        verifiers=client.get("/ttc/verifiers")["data"],
        generated=generated,
        tokens_per_second=speed,
        finished=finished,
    )


Sample = tuple[str, Mapping[str, str], float]


def _samples(text: str) -> list[Sample]:
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise Failure(f"/metrics cannot be read: {error}; is this a mull server?") from None
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def _sum(samples: list[Sample], wanted: str) -> float:
    return sum(value for name, _, value in samples if name == wanted)
