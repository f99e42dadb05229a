"""Laws of admission: who runs, who waits, who is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mull.server.callers import Caller, KeyLimits
from mull.server.metrics import Metrics
from mull.server.queueing.admission import Admission
from mull.server.queueing.bucket import Bucket
from mull.server.queueing.errors import LimitReached, Overloaded, ShuttingDown
from mull.server.queueing.order import AGEING, Order, Wanted
from mull.server.settings import AdmissionSettings
from mull.types import Usage

COSTS = st.integers(1, 4000)
STEPS = "add", "next", "end", "leave"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def wanted(order: Order, account: str = "a", *, cost: float = 1, generations: int = 1, **more: Any) -> Wanted:
    return Wanted(
        account=account,
        cost=cost,
        weight=order.weight(generations),
        **({"share": 1.0, "came": 0.0} | more),
    )


def drained(order: Order) -> list[Wanted]:
    """All that waits, in the order in which it runs when one ends after the other."""
    done = []
    while order.waiting or order.running:
        while (begun := order.next()) is not None:
            done.append(begun)
        first = next(iter(order.running))
        order.end(first, first.cost)
    return done


# -- the order ---------------------------------------------------------------------------------------------


@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.sampled_from("abc"), COSTS, st.integers(1, 400), st.sampled_from(STEPS))),
)
def test_never_more_runs_than_may(capacity: int, steps: list[tuple[str, int, int, str]]) -> None:
    order, time = Order(capacity), 0.0
    for account, cost, generations, step in steps:
        time += 1
        match step:
            case "add":
                order.add(wanted(order, account, cost=cost, generations=generations, came=time))
            case "next":
                order.next()
            case "end" if order.running:
                order.end(next(iter(order.running)), cost)
            case "leave" if order.waiting:
                order.leave(next(iter(order.waiting)))
        assert 0 <= order.used <= capacity
        assert order.used == sum(each.weight for each in order.running)
        assert not set(order.running) & set(order.waiting)
    if order.waiting and not order.running:
        assert order.next() is not None, "something always runs"


@given(
    st.integers(1, 64), st.lists(st.tuples(st.sampled_from("abc"), COSTS, st.integers(1, 400)), max_size=40)
)
def test_everything_runs_in_the_end(capacity: int, asked: list[tuple[str, int, int]]) -> None:
    order = Order(capacity)
    all_of_them = [
        wanted(order, account, cost=cost, generations=n, came=float(i))
        for i, (account, cost, n) in enumerate(asked)
    ]
    for each in all_of_them:
        order.add(each)
    assert Counter(drained(order)) == Counter(all_of_them)


@given(
    st.integers(1, 8), st.lists(COSTS, min_size=30, max_size=60), st.lists(COSTS, min_size=30, max_size=60)
)
def test_two_keys_get_the_same(capacity: int, first: list[int], second: list[int]) -> None:
    """While both have something waiting, neither gets ahead by more than its largest request."""
    order = Order(capacity)
    for account, costs in (("a", first), ("b", second)):
        for at, cost in enumerate(costs):
            order.add(wanted(order, account, cost=cost, came=float(at)))
    served, bound = Counter[str](), max(*first, *second)
    while {each.account for each in order.waiting} == {"a", "b"}:
        if (begun := order.next()) is None:
            ended = next(iter(order.running))
            order.end(ended, ended.cost)
            continue
        served[str(begun.account)] += int(begun.cost)
        assert abs(served["a"] - served["b"]) <= bound


def test_shares_are_kept() -> None:
    order = Order(1)
    for account, share in (("high", 4.0), ("low", 1.0)):
        for at in range(200):
            order.add(wanted(order, account, cost=10, share=share, came=float(at)))
    begun = Counter(str(each.account) for each in drained(order)[:100])
    assert abs(begun["high"] - 80) <= 2


def test_whoever_was_idle_has_saved_up_nothing() -> None:
    order = Order(1)
    for at in range(50):
        order.add(wanted(order, "busy", cost=100, came=float(at)))
    for _ in range(20):
        begun = order.next()
        assert begun is not None
        order.end(begun, begun.cost)
    for at in range(20):
        order.add(wanted(order, "new", cost=100, came=50.0 + at))
    accounts = Counter(str(each.account) for each in drained(order)[:10])
    assert accounts == {"busy": 5, "new": 5}


@given(COSTS, st.lists(st.tuples(st.floats(0.01, 5), COSTS), min_size=1, max_size=100))
def test_a_large_request_is_overtaken_for_so_long_only(large: int, stream: list[tuple[float, int]]) -> None:
    """What comes later than its cost takes to age cannot overtake it, however cheap it is."""
    order, time = Order(1), 0.0
    patient = wanted(order, cost=large, came=0.0)
    order.add(patient)
    for gap, cost in stream:
        time += gap
        order.add(wanted(order, cost=cost, came=time))
    ran = drained(order)
    before = ran[: ran.index(patient)]
    assert all(each.came <= large / AGEING for each in before)


def test_the_cheap_is_first() -> None:
    order = Order(1)
    for cost in (5000, 10, 300):
        order.add(wanted(order, cost=cost))
    assert [each.cost for each in drained(order)] == [10, 300, 5000]


def test_huge_searches_leave_room_for_small_ones() -> None:
    order = Order(64)
    for _ in range(10):
        order.add(wanted(order, "huge", generations=1000, cost=100_000))
    assert order.next() is not None
    assert order.next() is None
    order.add(wanted(order, "small", cost=1, came=9.0))
    order.add(wanted(order, "huge", cost=1, came=9.0))
    assert {each.weight for each in (order.next(), order.next()) if each} == {1}
    assert order.used == 50


# -- the rate of tokens ------------------------------------------------------------------------------------


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20_000)), min_size=1, max_size=60),
)
def test_a_key_generates_no_more_than_its_rate(rate: int, asked: list[tuple[float, int]]) -> None:
    clock = Clock()
    bucket = Bucket(rate, clock)
    spent, largest = 0, 0
    for gap, cost in asked:
        clock.now += gap
        if not bucket.wait(cost):
            bucket.take(cost)
            spent, largest = spent + cost, max(largest, cost)
        assert spent <= rate * (2 + clock.now / 60) + max(0, largest - rate) + 1


@given(st.integers(1, 10_000), st.integers(0, 10**7), st.integers(1, 10**6))
def test_whoever_waits_as_told_may_begin(rate: int, spent: int, cost: int) -> None:
    clock = Clock()
    bucket = Bucket(rate, clock)
    bucket.take(spent)
    clock.now += bucket.wait(cost) + 1e-3
    assert bucket.wait(cost) == 0


def test_what_was_not_spent_comes_back() -> None:
    bucket = Bucket(100, Clock())
    bucket.take(80)
    bucket.take(-80)
    assert bucket.level == 100
    bucket.take(-50)
    assert bucket.level == 100


def test_a_clock_that_jumps_back_takes_nothing() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    bucket.take(30)
    clock.now = -1000
    assert bucket.level == 30
    clock.now = -990
    assert bucket.level == 40


# -- the door ----------------------------------------------------------------------------------------------


def door(clock: Clock | None = None, **fields: Any) -> Admission:
    return Admission(AdmissionSettings(**fields), Metrics(), clock=clock or Clock())


class Client:
    """Asks for one turn and has it until told to end."""

    def __init__(self, admission: Admission, caller: Caller | None = None, **more: Any) -> None:
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()
        self.tokens = more.pop("tokens", 0)
        self._admission = admission
        self._caller = caller or Caller()
        self._more: dict[str, Any] = {"request": str(id(self)), "cost": 10.0, "generations": 1} | more
        self.task = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        async with self._admission.turn(self._caller, **self._more) as turn:
            self.inside.set()
            await self.leave.wait()
            turn.usage = Usage(completion=self.tokens)

    async def end(self) -> None:
        self.leave.set()
        await self.task


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def empty(admission: Admission) -> bool:
    order = admission._order
    return not order.running and not order.waiting and not admission._turns and admission._idle.is_set()


async def test_too_many_are_refused_at_once() -> None:
    admission = door(running=1, queued=2)
    clients = [Client(admission) for _ in range(4)]
    await settled()
    assert [client.inside.is_set() for client in clients] == [True, False, False, False]
    with pytest.raises(Overloaded) as refused:
        await clients[3].task
    assert refused.value.status == 503
    assert refused.value.retry_after >= 1
    for client in clients[:3]:
        await client.inside.wait()
        await client.end()
    assert empty(admission)


async def test_who_goes_away_vanishes() -> None:
    admission = door(running=1, queued=1)
    first, second = Client(admission), Client(admission)
    await settled()
    second.task.cancel()
    await settled()
    third = Client(admission)
    await settled()
    assert not third.task.done()
    first.task.cancel()
    await third.inside.wait()
    await third.end()
    assert empty(admission)


async def test_who_goes_away_as_its_turn_comes_keeps_nothing() -> None:
    admission = door(running=1)
    first, second, third = (Client(admission) for _ in range(3))
    await settled()
    first.leave.set()
    while not any(future.done() for future in admission._turns.values()):  # noqa: ASYNC110 (there is no event)
        await asyncio.sleep(0)
    second.task.cancel()
    await third.inside.wait()
    await third.end()
    assert empty(admission)


async def test_a_failure_gives_everything_back() -> None:
    admission = door(running=1)
    with pytest.raises(RuntimeError):
        async with admission.turn(Caller(), request="x", cost=5, generations=1):
            raise RuntimeError
    assert empty(admission)


async def test_waiting_has_an_end() -> None:
    admission = door(running=1, seconds=0.01)
    first, second = Client(admission), Client(admission)
    with pytest.raises(Overloaded) as refused:
        await second.task
    assert refused.value.code == "queue_timeout"
    batch = Client(admission, Caller(batch="b"))
    await asyncio.sleep(0.03)
    assert not batch.task.done(), "nobody waits for a batch"
    await first.end()
    await batch.end()
    assert empty(admission)


async def test_a_key_has_so_many_at_a_time() -> None:
    admission = door(running=100)
    caller = Caller(owner="ann", name="ann", limits=KeyLimits(concurrent=2))
    parts = [Client(admission, caller, request="one") for _ in range(5)]
    other = Client(admission, caller)
    await settled()
    with pytest.raises(LimitReached) as refused:
        await Client(admission, caller).task
    assert (refused.value.status, refused.value.code) == (429, "concurrency_limit_exceeded")
    bob = Client(admission, Caller(owner="bob", name="bob"))
    await bob.end()
    for client in (*parts, other):
        await client.end()
    batch = [Client(admission, replace(caller, batch="b")) for _ in range(5)]
    await settled()
    beside = Client(admission, caller)
    await beside.inside.wait()
    for client in (*batch, beside):
        await client.end()
    last = Client(admission, caller)
    await last.end()
    assert empty(admission)
    assert [row["refused"] for row in admission.usage(Caller(admin=True))] == [1, 0]


async def test_a_key_generates_so_much_a_minute() -> None:
    clock = Clock()
    admission = door(clock)
    caller = Caller(owner="ann", name="ann", limits=KeyLimits(tokens_per_minute=600))
    spender = Client(admission, caller, tokens=700)
    await spender.end()
    with pytest.raises(LimitReached) as refused:
        await Client(admission, caller).task
    assert refused.value.retry_after == pytest.approx(10.1)
    clock.now += refused.value.retry_after + 0.01
    cancelled = Client(admission, caller, cost=600.0)
    await settled()
    cancelled.task.cancel()
    await settled()
    # It had generated nothing.
    assert admission.usage(caller)[0]["tokens_left"] == 1
    assert admission.usage(caller)[0]["completion_tokens"] == 700


async def test_the_weight_of_what_runs_is_kept() -> None:
    admission = door(running=64)
    clients = [Client(admission, generations=16) for _ in range(5)]
    await settled()
    assert sum(client.inside.is_set() for client in clients) == 3
    for client in clients:
        await client.inside.wait()
        await client.end()
    assert empty(admission)


async def test_a_closed_door() -> None:
    admission = door(running=1)
    inside, waiting = Client(admission), Client(admission)
    await settled()
    await admission.close()
    for client in (waiting, Client(admission)):
        with pytest.raises(ShuttingDown):
            await client.task
    assert not admission._idle.is_set()
    await inside.end()
    await asyncio.wait_for(admission.idle(), 5)
    assert empty(admission)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 40), st.sampled_from(["ask", "end", "cancel"])),
        max_size=60,
    )
)
def test_nothing_is_lost_whatever_happens(steps: list[tuple[str, int, str]]) -> None:
    async def play() -> None:
        admission = door(running=16, queued=5)
        clients: list[Client] = []
        for name, generations, step in steps:
            if step == "ask":
                limits = KeyLimits(concurrent=6, tokens_per_minute=10_000)
                caller = Caller(owner=name, name=name, limits=limits)
                clients.append(Client(admission, caller, generations=generations, tokens=generations))
            elif clients:
                client = clients[generations % len(clients)]
                client.leave.set() if step == "end" else client.task.cancel()
            await settled()
            assert admission._order.used <= 16
            assert len(admission._order.waiting) <= 5
        for client in clients:
            client.leave.set()
        done = await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
        assert all(
            each is None or isinstance(each, Overloaded | LimitReached | asyncio.CancelledError)
            for each in done
        )
        await settled()
        assert empty(admission)
        assert all(row["running"] == 0 for row in admission.usage(Caller(admin=True)))

    asyncio.run(play())


def test_budgets_shrink_with_the_load() -> None:
    async def play() -> None:
        admission = door(running=10, degrade={"above": 1.0, "factor": 0.5, "levels": 2})
        assert admission.pressure == 1
        clients = [Client(admission) for _ in range(10)]
        await settled()
        assert admission.pressure == 0.5
        clients += [Client(admission) for _ in range(50)]
        await settled()
        assert admission.pressure == 0.25
        for client in clients:
            client.leave.set()
        await asyncio.gather(*(client.task for client in clients))
        assert admission.pressure == 1

    asyncio.run(play())
