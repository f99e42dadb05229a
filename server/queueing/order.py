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

from collections.abc import Hashable
from dataclasses import dataclass

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


class Order:
    """What runs, what waits, and what is next. It knows no time and does not wait.

    Args:
        capacity: Weight that may run at a time.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.running: dict[Wanted, None] = {}
        self.waiting: dict[Wanted, None] = {}
        self._served: dict[Hashable, float] = {}
        # A quarter is kept free of large requests, so that small ones need not wait until one of those ends.
        self._small = max(1, capacity // 16)
        self._large = max(1, capacity - capacity // 4)

    def weight(self, generations: int) -> int:
        """The weight of a request that may have so many generations in flight: none is too large to run."""
        return max(1, min(generations, self._large))

    @property
    def used(self) -> int:
        """Weight of all that runs."""
        return sum(each.weight for each in self.running)

    @property
    def load(self) -> float:
        """Weight of all that runs or waits, as a part of what may run."""
        return (self.used + sum(each.weight for each in self.waiting)) / self.capacity

    def add(self, wanted: Wanted) -> None:
        """Let a request wait."""
        active = {each.account for each in (*self.waiting, *self.running)}
        if wanted.account not in active:
            least = min((self._served[account] for account in active), default=0.0)
            self._served[wanted.account] = max(self._served.get(wanted.account, 0.0), least)
            # Whoever is idle has nothing to claim or to repay once everybody is.
            if not active:
                self._served = {wanted.account: 0.0}
        self.waiting[wanted] = None

    def next(self) -> Wanted | None:
        """Begin the next request, if there is one and room for it."""
        first = min(self.waiting, key=self._place, default=None)
        used, large = self.used, sum(each.weight for each in self.running if each.weight > self._small)
        if first is not None and first.weight > self._small and large + first.weight > self._large:
            # It waits for other large ones, not for all: small ones are let by.
            small = (each for each in self.waiting if each.weight <= self._small)
            first = min(small, key=self._place, default=None)
        if first is None or used + first.weight > self.capacity:
            return None
        del self.waiting[first]
        self.running[first] = None
        self._served[first.account] += first.cost / first.share
        return first

    def leave(self, wanted: Wanted) -> None:
        """A request goes away that has not begun."""
        del self.waiting[wanted]

    def end(self, wanted: Wanted, cost: float) -> None:
        """A request has ended, and cost so many tokens."""
        del self.running[wanted]
        self._served[wanted.account] += (cost - wanted.cost) / wanted.share

    def _place(self, wanted: Wanted) -> tuple[float, float]:
        return self._served[wanted.account], wanted.rank
