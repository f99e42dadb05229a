"""Metrics of several engines in one registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, Counter, generate_latest

from mull.engines.metrics import EngineMetrics


@pytest.fixture
def metrics() -> Iterator[EngineMetrics]:
    metrics = EngineMetrics()
    REGISTRY.register(metrics)
    yield metrics
    REGISTRY.unregister(metrics)


def start_engine(name: str, tokens: int) -> None:
    """Register what vLLM registers when an engine starts."""
    Counter("vllm:test_tokens", "Tokens.", ["model_name"]).labels(name).inc(tokens)


def lines() -> list[str]:
    text = generate_latest(REGISTRY).decode()
    return [line for line in text.splitlines() if "vllm:test_tokens" in line and "_created" not in line]


def test_each_engine_is_there_under_one_name(metrics: EngineMetrics) -> None:
    for name, tokens in (("a", 1), ("b", 2)):
        start_engine(name, tokens)
        metrics.take(name)
    assert lines() == [
        "# HELP vllm:test_tokens_total Tokens.",
        "# TYPE vllm:test_tokens_total counter",
        'vllm:test_tokens_total{model_name="a"} 1.0',
        'vllm:test_tokens_total{model_name="b"} 2.0',
    ]
    metrics.drop("a")
    assert lines()[2:] == ['vllm:test_tokens_total{model_name="b"} 2.0']
    metrics.drop("b")
    assert lines() == []
