"""Who is next: fair between those who ask, small before large, nobody for ever last.

Between keys it is the virtual token counter of Sheng et al. 2024 ("Fairness in Serving Large Language
Models", OSDI): each key has a counter of what it was served, divided by its share; the key with the smallest
counter is next, and a key that was idle is lifted to the smallest counter of those who are there, so that
nobody saves up turns. Of two keys that both always have something waiting, none gets ahead by more than its
largest request.

Among the requests of one key the cheapest is first, but a request gains on later ones while it waits: it is
ranked by when it came plus `cost / AGEING` seconds, which no clock needs to keep up to date.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

AGEING = 100.0
"""Tokens of cost that one second of waiting makes up for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """A request that wants to run."""

    account: Hashable
    """On whose account."""
    share: float
    """The account's part of a busy server, in relation to others'."""
    cost: float
    """Tokens that it is expected to generate."""
    weight: int
    """Generations that it may have in flight, as parts of `capacity`."""
    came: float
    """When, in seconds."""

    @property
    def rank(self) -> float:
        """Its place among those of its account, smallest first."""
        return self.came + self.cost / AGEING


Place = tuple[float, int, Wanted]
"""Rank, number (of equal ranks the first to come is first), request."""


class Order:
    """What runs, what waits, and what is next. It knows no time and does not wait.

    Args:
        capacity: Weight that may run at a time.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.running: dict[Wanted, None] = {}
        self.waiting: dict[Wanted, None] = {}
        self.used = 0
        """Weight of all that runs."""
        self._queued = 0
        """Weight of all that waits."""
        self._used_large = 0
        self._present: Counter[Hashable] = Counter()
        """How many requests of each account wait or run."""
        self._served: dict[Hashable, float] = {}
        # Of each account small requests and large ones, by rank. Who has left is thrown out when on top.
        self._queues: dict[Hashable, tuple[list[Place], list[Place]]] = {}
        self._number = itertools.count()
        # A quarter is kept free of large requests, so that small ones need not wait until one of those ends.
        self._small = max(1, capacity // 16)
        self._large = max(1, capacity - capacity // 4)

    def weight(self, generations: int) -> int:
        """The weight of a request that may have so many generations in flight: none is too large to run."""
        return max(1, min(generations, self._large))

    @property
    def load(self) -> float:
        """Weight of all that runs or waits, as a part of what may run."""
        return (self.used + self._queued) / self.capacity

    def add(self, wanted: Wanted) -> None:
        """Let a request wait."""
        if wanted.account not in self._present:
            least = min((self._served[account] for account in self._present), default=0.0)
            self._served[wanted.account] = max(self._served.get(wanted.account, 0.0), least)
            # Whoever is idle has nothing to claim or to repay once everybody is.
            if not self._present:
                self._served = {wanted.account: 0.0}
        self._present[wanted.account] += 1
        self._queued += wanted.weight
        self.waiting[wanted] = None
        queue = self._queues.setdefault(wanted.account, ([], []))[self._is_large(wanted)]
        heappush(queue, (wanted.rank, next(self._number), wanted))

    def next(self) -> Wanted | None:
        """Begin the next request, if there is one and room for it."""
        first = self._first((False, True))
        if first is not None and self._is_large(first) and self._used_large + first.weight > self._large:
            # It waits for other large ones, not for all: small ones are let by.
            first = self._first((False,))
        if first is None or self.used + first.weight > self.capacity:
            return None
        del self.waiting[first]
        self._queued -= first.weight
        self.running[first] = None
        self.used += first.weight
        self._used_large += first.weight * self._is_large(first)
        self._served[first.account] += first.cost / first.share
        return first

    def leave(self, wanted: Wanted) -> None:
        """A request goes away that has not begun."""
        del self.waiting[wanted]
        self._queued -= wanted.weight
        self._go(wanted)

    def end(self, wanted: Wanted, cost: float) -> None:
        """A request has ended, and cost so many tokens."""
        del self.running[wanted]
        self.used -= wanted.weight
        self._used_large -= wanted.weight * self._is_large(wanted)
        self._served[wanted.account] += (cost - wanted.cost) / wanted.share
        self._go(wanted)

    def _first(self, sizes: Sequence[bool]) -> Wanted | None:
        """The next of the large requests, of the others, or of both, whether or not there is room."""
        places = []
        for account, queues in self._queues.items():
            for large in sizes:
                queue = queues[large]
                while queue and queue[0][2] not in self.waiting:
                    heappop(queue)
                if queue:
                    places.append((self._served[account], *queue[0]))
        return min(places)[3] if places else None

    def _go(self, wanted: Wanted) -> None:
        self._present[wanted.account] -= 1
        if not self._present[wanted.account]:
            del self._present[wanted.account]
            self._queues.pop(wanted.account, None)

    def _is_large(self, wanted: Wanted) -> bool:
        return wanted.weight > self._small
