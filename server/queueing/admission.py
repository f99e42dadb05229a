"""Lets requests in: as many at a time as the engines can do, the others in turn, too many not at all."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mull.errors import MullError
from mull.server.callers import Caller
from mull.server.metrics import Metrics
from mull.server.queueing.accounts import LONGEST, Account, share_of
from mull.server.queueing.errors import LimitReached, Overloaded, ShuttingDown
from mull.server.queueing.expected import Expected
from mull.server.queueing.order import Order, Wanted
from mull.server.queueing.precedence import Precedence
from mull.server.settings import AdmissionSettings
from mull.types import Usage

WINDOW = 60.0
"""Seconds over which is measured how fast requests end."""


@dataclass
class Turn:
    """One request's time with the engines."""

    usage: Usage = field(default_factory=Usage)
    """What it has cost, set before it ends."""
    priority: int = 0
    """Its place in the engines' queues, the smaller the sooner."""


class Admission:
    """The door to the engines.

    Nothing is done for a request before it is let in, and what it took is given back whatever way it ends.

    Args:
        settings: How much may run and wait.
        metrics: Where waiting and refusals are counted.
        clock: Seconds.
    """

    def __init__(
        self, settings: AdmissionSettings, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.expected = Expected()
        self.closed = False
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._order = Order(settings.running)
        self._precedence = Precedence()
        self._turns: dict[Wanted, asyncio.Future[int]] = {}
        self._accounts: dict[str | None, Account] = {}
        self._ended: deque[float] = deque(maxlen=1024)
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def pressure(self) -> float:
        """The part of its budget that a request gets now; 1 unless degradation is configured."""
        degrade = self._settings.degrade
        if degrade is None:
            return 1.0
        level = min(degrade.levels, int(self._order.load / degrade.above))
        return math.pow(degrade.factor, level)

    @asynccontextmanager
    async def turn(
        self, caller: Caller, *, request: str, cost: float, generations: int
    ) -> AsyncGenerator[Turn, None]:
        """Wait for a turn, and have it.

        Args:
            caller: Who asks.
            request: The request's id; parts of one request share it, and count as one with the key's limits.
            cost: Tokens that it is expected to generate.
            generations: Those that it may have in flight.

        Raises:
            LimitReached: the key has used up what it may.
            Overloaded: too many wait already, or it has waited too long.
            ShuttingDown: the server takes nothing new.
        """
        account = self._account(caller)
        try:
            if caller.batch is None and not account.present(request):
                account.check(cost)
            if caller.batch is not None:
                await _allowed(account, cost)
        except LimitReached as error:
            self._refused(account, error)
            raise
        first = not account.present(request)
        account.enter(request, cost, batch=caller.batch is not None)
        wanted = Wanted(
            account=(caller.owner, caller.batch is not None),
            share=share_of(caller),
            cost=cost,
            weight=self._order.weight(generations),
            came=self._clock(),
        )
        turn, started = Turn(), None
        try:
            turn.priority = await self._wait(wanted, patient=caller.batch is not None, counts=first)
            started = self._clock()
            self._metrics.waiting_seconds.observe(started - wanted.came)
            yield turn
        except (Overloaded, ShuttingDown) as error:
            if started is None:
                self._refused(account, error)
            raise
        finally:
            if started is not None:
                self._end(wanted, turn.usage.completion)
                self._ended.append(self._clock())
            self._settle(account, request, wanted, turn.usage, started)
            self._begin()

    async def close(self) -> None:
        """Take nothing new; what waits is refused, what runs goes on."""
        self.closed = True
        for future in self._turns.values():
            if not future.done():
                future.set_exception(ShuttingDown())

    async def idle(self) -> None:
        """Wait until nothing runs and nothing waits."""
        await self._idle.wait()

    def usage(self, caller: Caller) -> list[dict[str, Any]]:
        """What keys have used since the server started: all for administrators, his own for a user."""
        accounts = self._accounts.values()
        return [account.to_dict() for account in accounts if caller.may_read(account.owner)]

    async def _wait(self, wanted: Wanted, *, patient: bool, counts: bool) -> int:
        """Return when its turn has come, with its place in the engines' queues."""
        if self.closed:
            raise ShuttingDown()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._turns[wanted] = future
        self._idle.clear()
        self._order.add(wanted)
        self._begin()
        try:
            waiting = self._order.waiting
            if counts and not patient and wanted in waiting and len(waiting) > self._settings.queued:
                raise self._overloaded("too many requests are waiting already", "overloaded")
            async with asyncio.timeout(None if patient else self._settings.seconds) as patience:
                return await future
        except BaseException as error:
            # Its turn may have come in the moment in which it goes away.
            if wanted in self._order.running:
                self._end(wanted, 0)
            else:
                self._order.leave(wanted)
            if isinstance(error, TimeoutError) and patience.expired():
                seconds = self._settings.seconds
                raise self._overloaded(
                    f"the request has waited for {seconds:g} seconds, and the server is busy still",
                    "queue_timeout",
                ) from None
            raise
        finally:
            del self._turns[wanted]
            self._metrics.waiting.set(len(self._order.waiting))

    def _begin(self) -> None:
        """Begin all that is next and has room."""
        while (wanted := self._order.next()) is not None:
            future, place = self._turns[wanted], self._precedence.begin(wanted)
            if future.done():  # it was refused or went away, and does not know yet
                continue
            future.set_result(place)
        self._metrics.waiting.set(len(self._order.waiting))
        self._metrics.weight.set(self._order.used)
        if not self._order.running and not self._order.waiting:
            self._idle.set()

    def _end(self, wanted: Wanted, cost: float) -> None:
        self._precedence.end(wanted, cost)
        self._order.end(wanted, cost)

    def _settle(
        self, account: Account, request: str, wanted: Wanted, usage: Usage, started: float | None
    ) -> None:
        seconds = 0.0 if started is None else self._clock() - started
        account.leave(request, wanted.cost, prompt=usage.prompt, completion=usage.completion, seconds=seconds)
        if started is not None:
            tokens = self._metrics.key_tokens
            self._metrics.key_requests.labels(account.name).inc()
            tokens.labels(account.name, "prompt").inc(usage.prompt)
            tokens.labels(account.name, "completion").inc(usage.completion)

    def _account(self, caller: Caller) -> Account:
        account = self._accounts.get(caller.owner)
        if account is None:
            account = self._accounts[caller.owner] = Account(caller, self._clock)
        account.update(caller)
        return account

    def _refused(self, account: Account, error: MullError) -> None:
        account.refused += 1
        self._metrics.refused.labels(error.code).inc()

    def _overloaded(self, message: str, code: str) -> Overloaded:
        """The refusal, with the time in which those who wait will have been served, about."""
        now = self._clock()
        recent = [ended for ended in self._ended if ended >= now - WINDOW]
        seconds = len(self._order.waiting) * (now - recent[0]) / len(recent) if recent else 1.0
        return Overloaded(message, retry_after=min(LONGEST, max(1.0, seconds)), code=code)


async def _allowed(account: Account, cost: float) -> None:
    """Wait until a key's token rate allows a request: for what nobody waits for."""
    while wait := account.wait(cost):  # noqa: ASYNC110 (it passes with time, without an event)
        await asyncio.sleep(wait)
