from __future__ import annotations

from mull.engines.breaker import FIRST, LONGEST, THRESHOLD, Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker, clock: Clock, times: int = 1) -> None:
    for _ in range(times):
        clock.now += 0.001
        breaker.failed(clock.now)


def test_it_opens_after_some_failures_and_closes_by_itself() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    fail(breaker, clock, THRESHOLD - 1)
    assert not breaker.open
    fail(breaker, clock)
    assert 0 < breaker.seconds <= FIRST
    clock.now += FIRST
    assert not breaker.open


def test_each_further_failure_doubles_the_time_up_to_a_limit() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    fail(breaker, clock, THRESHOLD + 1)
    clock.now += 1.5 * FIRST
    assert breaker.open
    fail(breaker, clock, 50)
    clock.now += 0.99 * LONGEST
    assert breaker.open
    clock.now += 0.02 * LONGEST
    assert not breaker.open


def test_a_success_forgives() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    fail(breaker, clock, THRESHOLD + 3)
    breaker.succeeded()
    assert not breaker.open
    fail(breaker, clock, THRESHOLD - 1)
    assert not breaker.open


def test_requests_that_were_under_way_together_fail_as_one() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    began = clock.now
    clock.now += 1
    for _ in range(100):
        breaker.failed(began)
    assert not breaker.open
