"""When to stop: pure functions of what was measured so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from mull.training.statistics import mean

TRUE, PROXY = "true", "proxy"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Rewards of each problem by name, after so many updates. The problems are the same every time."""

    step: int
    values: Mapping[str, Sequence[float]]

    def mean(self, name: str) -> float:
        """Mean over the problems."""
        return mean(self.values[name])


def best(series: Sequence[Measurement]) -> int:
    """Index of the measurement with the highest true reward, the first of equals."""
    return max(range(len(series)), key=lambda n: (series[n].mean(TRUE), -n))


def parted(series: Sequence[Measurement], *, window: int, margin: float, noise: float) -> bool:
    """Whether the proxy reward is being hacked: it has risen while the true reward has fallen.

    So in Gao et al. 2022 (arXiv:2210.10760, figure 1): past a point the true reward falls as the proxy goes
    on rising. Call the measurement of the highest true reward the peak. Each of the last `window` ones must

    1. come after the peak,
    2. have a mean true reward more than `margin` below the peak's, and
    3. have a mean proxy reward above the peak's by more than `noise` standard errors of the mean difference,
       taken problem by problem.

    A policy that loses both rewards has collapsed, and is not this guard's business.
    """
    peak = best(series)
    recent = series[-window:]
    if len(series) - window <= peak:
        return False
    return all(
        series[peak].mean(TRUE) - m.mean(TRUE) > margin and _risen(series[peak], m, noise) for m in recent
    )


def _risen(before: Measurement, after: Measurement, noise: float) -> bool:
    gains = [b - a for a, b in zip(before.values[PROXY], after.values[PROXY], strict=True)]
    gain = mean(gains)
    error = sqrt(mean([(g - gain) ** 2 for g in gains]) / len(gains))
    return gain > noise * error


def forgotten(series: Sequence[Measurement], *, max_drop: float) -> list[str]:
    """Tasks whose accuracy in the last measurement is more than `max_drop` below that in the first."""
    first, last = series[0], series[-1]
    # Accuracies are quotients: a drop of exactly `max_drop` must not count for its rounding.
    return [name for name in first.values if first.mean(name) - last.mean(name) > max_drop + 1e-9]


def fallen(accuracies: Sequence[float], *, max_drop: float) -> bool:
    """Whether the last of some accuracies is more than `max_drop` below the best."""
    return max(accuracies) - accuracies[-1] > max_drop + 1e-9
