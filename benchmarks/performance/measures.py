"""All measures, by their number."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from benchmarks.performance import (
    adaptive,
    beam,
    beside,
    cache,
    growth,
    judging,
    memory,
    mixed,
    plain,
    ready,
    sampling,
    voting,
)
from benchmarks.performance.figures import Found
from benchmarks.performance.stage import Stage

INSIDE: Mapping[int, Callable[[Stage, int], Awaitable[Found]]] = {
    1: sampling.measure,
    2: beam.measure,
    5: cache.measure,
    6: judging.measure,
    8: growth.measure,
}
"""With engines in this process; they take the stage and the number of rounds."""

OUTSIDE: Mapping[int, Callable[[int], Awaitable[Found]]] = {
    3: beside.beam,
    4: voting.measure,
    7: plain.measure,
    9: ready.measure,
    10: memory.measure,
    11: adaptive.measure,
    12: mixed.measure,
}
"""With servers in processes of their own; they take the number of rounds."""

NEIGHBOURS = frozenset({3, 4})
"""Those that need `neighbours/install` to have been run."""
