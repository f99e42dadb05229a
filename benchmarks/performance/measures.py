"""All measures, by their number."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from benchmarks.performance import beam, sampling
from benchmarks.performance.figures import Found
from benchmarks.performance.stage import Stage

INSIDE: Mapping[int, Callable[[Stage, int], Awaitable[Found]]] = {1: sampling.measure, 2: beam.measure}
"""With engines in this process; they take the stage and the number of rounds."""
OUTSIDE: Mapping[int, Callable[[int], Awaitable[Found]]] = {}
"""With servers in processes of their own; they take the number of rounds."""
