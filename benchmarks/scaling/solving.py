"""A search while it is being worked on: what has ended, and what can begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.scaling.cache import Prefix
from benchmarks.scaling.work import Job


class Solving:
    """A job that is being worked on."""

    def __init__(self, job: Job, server: int, arrived: float, then: Callable[[], None]) -> None:
        self.job, self.server, self.arrived, self.then = job, server, arrived, then
        levels = job.tree.levels
        self.open = [0, *map(len, levels)]
        """Generations of each level that have not ended; before the first one is the question."""
        self.coming = [*map(list, levels), []]
        """Those that have not begun."""
        self.whole: dict[int, Prefix] = {-1: job.prompt}
        """What there is, by the place of the last generation."""

    def ready(self, level: int) -> list[int]:
        """Generations of a level that can begin, each told once."""
        steps, before = self.job.tree.steps, self.open[level]
        now = [at for at in self.coming[level] if before <= steps[at][2] and steps[at][0] in self.whole]
        if now:
            self.coming[level] = [at for at in self.coming[level] if at not in now]
        return now


class Request(NamedTuple):
    """What a generation is for."""

    solving: Solving
    place: int
    level: int
