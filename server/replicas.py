"""What Prometheus is told of engines: which live, what they work on, how often they came back."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mull.server.backend import Backend


class ReplicaMetrics(Collector):
    """Read when asked, since replicas come and go.

    Args:
        backend: Whose engines.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        """The state of each replica and engine now."""
        each = ["model", "replica"]
        up = GaugeMetricFamily("mull_replica_up", "Whether a replica gets requests.", labels=each)
        busy = GaugeMetricFamily("mull_replica_requests", "Requests that a replica works on.", labels=each)
        moved = CounterMetricFamily(
            "mull_failovers", "Engine requests that went on at another replica.", labels=["model"]
        )
        again = CounterMetricFamily(
            "mull_engine_restarts", "Times that a dead engine was started again.", labels=["engine"]
        )
        for model, pool in self._backend.pools.items():
            moved.add_metric([model], pool.failovers)
            for replica in pool.replicas:
                up.add_metric([model, replica.label], replica.serves)
                busy.add_metric([model, replica.label], replica.in_flight)
        for engine, restarts in self._backend.restarts.items():
            again.add_metric([engine], restarts)
        yield from (up, busy, moved, again)
