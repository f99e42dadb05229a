"""What a simulation, or a real run, came to."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.performance.figures import quantile
from benchmarks.scaling.cluster import Cluster


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of all that happened between two moments."""

    jobs: int
    goodput: float
    """Jobs that ended, a second and replica."""
    hit_rate: float
    """Prompt tokens that were cached, of all."""
    computed: float
    """Prompt tokens that were not, for each generated one."""
    p50: float
    p95: float
    """Seconds from a job's arrival to its end, of the jobs that arrived."""


def figures(cluster: Cluster, begin: float = 0.0, end: float = float("inf")) -> Figures:
    """Of a simulation that has run."""
    end = min(end, cluster.now)
    ended = sum(begin <= each.ended <= end for each in cluster.done)
    taken = [each.ended - each.arrived for each in cluster.done if begin <= each.arrived < end]
    answered = [each for each in cluster.answered if begin <= each[0] <= end]
    prompt, cached, generated = (sum(each[at] for each in answered) for at in (1, 2, 3))
    return Figures(
        jobs=ended,
        goodput=ended / (end - begin) / len(cluster.members),
        hit_rate=cached / prompt,
        computed=(prompt - cached) / generated,
        p50=quantile(taken, 0.5),
        p95=quantile(taken, 0.95),
    )
