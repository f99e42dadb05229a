"""Who gets a request: mull's own router, and two that it is compared with."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from benchmarks.scaling.cache import Prefix

from mull.engines.routing import Loaded, choose
from mull.memory import Memory

R = TypeVar("R", bound=Loaded)


class Route(Protocol):
    """A way to choose."""

    def choose(self, replicas: Sequence[R], root: bytes, prompt: Prefix) -> R:
        """The replica for a request."""
        ...

    def ended(self, whole: Prefix, name: str) -> None:
        """Hear where something was generated."""
        ...


class Affine:
    """As `mull.engines.pool.Pool`, by the same function: where the prefix is, unless others are idle."""

    def __init__(self) -> None:
        self._homes: Memory[int, str] = Memory()

    def choose(self, replicas: Sequence[R], root: bytes, prompt: Prefix) -> R:
        return choose(replicas, root, self._homes.get(prompt.number)) if len(replicas) > 1 else replicas[0]

    def ended(self, whole: Prefix, name: str) -> None:
        self._homes.put(whole.number, name)


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._turn = -1

    def choose(self, replicas: Sequence[R], root: bytes, prompt: Prefix) -> R:
        self._turn += 1
        return replicas[self._turn % len(replicas)]

    def ended(self, whole: Prefix, name: str) -> None:
        pass


class LeastLoaded:
    """The one with the fewest requests; of several, any."""

    def __init__(self) -> None:
        self._draw = random.Random(0)

    def choose(self, replicas: Sequence[R], root: bytes, prompt: Prefix) -> R:
        least = min(replica.in_flight for replica in replicas)
        return self._draw.choice([replica for replica in replicas if replica.in_flight == least])

    def ended(self, whole: Prefix, name: str) -> None:
        pass


ROUTES: dict[str, Callable[[], Route]] = {
    "affine": Affine,
    "round robin": RoundRobin,
    "least loaded": LeastLoaded,
}
