"""What Prometheus is told of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class StoreMetrics(Collector):
    """Read when asked.

    Args:
        answers: Whether the store answered when it was asked last; None where there is none.
    """

    def __init__(self, answers: Callable[[], bool] | None) -> None:
        self._answers = answers

    def collect(self) -> Iterator[Metric]:
        """The state of the store now."""
        up = None if self._answers is None else float(self._answers())
        yield GaugeMetricFamily("mull_store_up", "Whether the shared store answers.", up)
