from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.budget import Budget, Limits

ENDING = st.integers(0, 8)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_limits_all_is_granted() -> None:
    budget = Budget()
    assert budget.reserve(5, 1000) == (5, 1000)
    assert (budget.tokens_left, budget.seconds_left, budget.samples_left) == (None, None, None)
    assert budget.exhausted is None


def test_reservations_count_until_they_are_settled() -> None:
    budget = Budget(Limits(tokens=100))
    assert budget.reserve(4, 40) == (2, 40)
    assert (budget.reserved, budget.tokens_left) == (80, 20)
    assert budget.reserve(2, 40) == (0, 0)
    assert budget.exhausted is None, "calls in flight may still give tokens back"
    budget.settle(40, 10)
    assert budget.reserve(2, 40) == (1, 40)
    budget.settle(40, 40)
    budget.settle(40, 40)
    assert budget.reserve(2, 40) == (1, 10), "the last tokens go to one generation"
    budget.settle(10, 10)
    assert budget.reserve(1, 40) == (0, 0)
    assert (budget.tokens, budget.samples) == (100, 4)
    assert budget.exhausted == "tokens"


def test_samples_run_out() -> None:
    budget = Budget(Limits(samples=3))
    assert budget.reserve(2, 10) == (2, 10)
    assert budget.reserve(2, 10) == (1, 10)
    assert budget.exhausted is None
    assert budget.reserve(1, 10) == (0, 0)
    assert budget.exhausted == "samples"


def test_seconds_run_out() -> None:
    clock = Clock()
    budget = Budget(Limits(seconds=2.0), clock=clock)
    clock.now = 1.5
    assert (budget.seconds, budget.seconds_left) == (1.5, 0.5)
    assert budget.reserve(1, 10) == (1, 10)
    clock.now = 3.0
    assert budget.seconds_left == 0.0
    assert budget.reserve(1, 10) == (0, 0)
    assert budget.exhausted == "seconds"


def test_the_first_limit_is_the_one_named() -> None:
    budget = Budget()
    budget.exhaust("samples")
    budget.exhaust("tokens")
    assert budget.exhausted == "samples"


async def test_settling_wakes_all_who_wait() -> None:
    budget = Budget(Limits(tokens=10))
    budget.reserve(1, 10)
    waiting = [asyncio.create_task(budget.settled()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(w.done() for w in waiting)
    budget.settle(10, 4)
    await asyncio.gather(*waiting)
    again = asyncio.create_task(budget.settled())
    await asyncio.sleep(0)
    assert not again.done(), "an earlier settlement does not count"
    again.cancel()


@given(
    tokens=st.none() | st.integers(0, 200),
    samples=st.none() | st.integers(0, 20),
    asks=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 60), st.floats(0, 1)), max_size=30),
    data=st.data(),
)
def test_never_promises_more_than_is_left(
    tokens: int | None, samples: int | None, asks: list[tuple[int, int, float]], data: st.DataObject
) -> None:
    budget = Budget(Limits(tokens=tokens, samples=samples))
    flying: list[tuple[int, int]] = []
    for n, each, share in asks:
        granted, limit = budget.reserve(n, each)
        assert 0 <= granted <= n
        assert 0 <= limit <= each
        flying += [(limit, int(limit * share))] * granted
        assert budget.tokens + budget.reserved <= (
            tokens if tokens is not None else budget.tokens + budget.reserved
        )
        assert budget.samples <= (samples if samples is not None else budget.samples)
        if granted == 0 and not flying:
            assert budget.exhausted is not None, (
                "refused with nothing in flight, and not exhausted: a deadlock"
            )
        for _ in range(data.draw(ENDING)):
            if flying:
                budget.settle(*flying.pop(data.draw(ENDING) % len(flying)))
    for reserved, spent in flying:
        budget.settle(reserved, spent)
    assert budget.reserved == 0


@pytest.mark.parametrize("limits", [Limits(tokens=0), Limits(samples=0), Limits(seconds=0.0)])
def test_a_budget_of_nothing_grants_nothing(limits: Limits) -> None:
    budget = Budget(limits)
    assert budget.reserve(1, 1) == (0, 0)
    assert budget.exhausted is not None
