"""Whose turn it is in the engines, among those that have been let in.

Start-time fair queueing (Goyal, Vin and Chen 1997, "Start-Time Fair Queueing: A Scheduling Algorithm for
Integrated Services Packet Switching Networks"): each search begins, in virtual time, where its key's last one
will have ended, though not before the point up to which searches have been served. What a key asks for at a
time is so lined up behind itself, and not before what others ask for. Its own expected length comes on top,
several times over: of searches that begin together those nearest their end go first.

A search keeps its place. Its later steps go before the first ones of what its key begins after it, unless
that is much smaller.
"""

from __future__ import annotations

from collections.abc import Hashable

from mull.server.queueing.order import Wanted

AHEAD = 4.0
"""How often a search's length counts. A small one overtakes a larger one of its key that began before it, as
long as its key has not begun so many times their difference since."""


class Precedence:
    """Gives requests that begin their place in the engines' queues. It knows no time."""

    def __init__(self) -> None:
        self.front = 0.0
        """Up to where searches have been served, in tokens of virtual time."""
        self._running: dict[Wanted, float] = {}
        self._ends: dict[Hashable, float] = {}

    def begin(self, wanted: Wanted) -> int:
        """A request begins.

        Returns:
            Its place: the smaller, the sooner. Always above 0.
        """
        if not self._running:
            # Whoever is idle has nothing to claim or to repay once everybody is.
            self.front, self._ends = 0.0, {}
        length = wanted.cost / wanted.share
        start = max(self.front, self._ends.get(wanted.account, 0.0))
        self._ends[wanted.account] = start + length
        self._running[wanted] = start
        return 1 + int(start + AHEAD * length)

    def end(self, wanted: Wanted, cost: float) -> None:
        """A request has ended, whatever way, and cost so many tokens: what was expected is put right."""
        self.front = max(self.front, self._running.pop(wanted))
        self._ends[wanted.account] += (cost - wanted.cost) / wanted.share
