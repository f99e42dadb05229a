"""What Prometheus is told of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class StoreMetrics(Collector):
    """Read when asked.

    Args:
        answers: Whether the store answered when it was asked last.
    """

    def __init__(self, answers: Callable[[], bool]) -> None:
        self._answers = answers

    def collect(self) -> Iterator[Metric]:
        """The state of the store now."""
        yield GaugeMetricFamily("mull_store_up", "Whether the shared store answers.", self._answers())
