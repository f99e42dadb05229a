"""The engines' own `vllm:*` metrics, of all engines of a process."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector

PREFIX = "vllm:"


class EngineMetrics(Collector):
    """Joins the metrics of several engines; vLLM itself keeps those of the last one only."""

    def __init__(self) -> None:
        self._collectors: dict[str, list[Collector]] = {}

    def take(self, engine: str) -> None:
        """Take over what the engine started last has registered, before the next one replaces it."""
        found = [
            collector
            for collector, names in REGISTRY._collector_to_names.items()
            if any(name.startswith(PREFIX) for name in names)
        ]
        for collector in found:
            REGISTRY.unregister(collector)
        self._collectors[engine] = found

    def drop(self, engine: str) -> None:
        """Forget an engine that has been stopped."""
        self._collectors.pop(engine, None)

    def describe(self) -> list[Metric]:
        """Nothing: the names are as yet unknown."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Each metric once, with the samples of all engines."""
        joined: dict[str, Metric] = {}
        for collectors in self._collectors.values():
            for collector in collectors:
                for metric in collector.collect():
                    if metric.name in joined:
                        joined[metric.name].samples += metric.samples
                    else:
                        joined[metric.name] = metric
        yield from joined.values()


@functools.cache
def engine_metrics() -> EngineMetrics:
    """The collector of this process, in the registry from now on."""
    metrics = EngineMetrics()
    REGISTRY.register(metrics)
    return metrics
