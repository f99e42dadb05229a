"""Laws of the places that searches get in the engines' queues."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.server.callers import Caller
from mull.server.metrics import Metrics
from mull.server.queueing.admission import Admission
from mull.server.queueing.order import Wanted
from mull.server.queueing.precedence import AHEAD, Precedence
from mull.server.settings import AdmissionSettings
from mull.types import Sampling, Usage

if TYPE_CHECKING:
    from tests.server.conftest import Fixed, Start

COSTS = st.integers(50, 5000)
ENDS = st.booleans()
"""Whether the one that has run longest ends before the next one begins."""


def wanted(account: str = "a", *, cost: float = 100, share: float = 1) -> Wanted:
    return Wanted(account=account, share=share, cost=cost, weight=1, came=0)


class Served:
    """Searches that begin, and end in the order in which they began."""

    def __init__(self) -> None:
        self.precedence = Precedence()
        self.running: list[Wanted] = []

    def begin(self, search: Wanted) -> int:
        self.running.append(search)
        return self.precedence.begin(search)

    def end(self, *, but: Wanted | None = None) -> None:
        first = next((search for search in self.running if search is not but), None)
        if first is not None:
            self.running.remove(first)
            self.precedence.end(first, first.cost)


def test_a_search_that_ends_at_once_leaves_its_key_no_worse_off() -> None:
    precedence, running = Precedence(), wanted("b")
    precedence.begin(running)
    for _ in range(5):
        precedence.begin(given_up := wanted("a", cost=32_000))
        precedence.end(given_up, 0)
    assert precedence.begin(wanted("a")) == precedence.begin(wanted("c"))


@given(st.lists(st.tuples(st.sampled_from("ab"), ENDS), max_size=60))
def test_the_older_search_of_a_key_goes_first(steps: list[tuple[str, bool]]) -> None:
    """All its steps have its place, so they go before the first ones of those that begin after it."""
    served, last = Served(), {"a": 0, "b": 0}
    for account, ends in steps:
        place = served.begin(wanted(account))
        assert place > last[account]
        last[account] = place
        if ends:
            served.end()
            if not served.running:
                last = {"a": 0, "b": 0}


@given(COSTS, st.lists(st.tuples(st.sampled_from("abc"), COSTS, ENDS), max_size=200))
def test_nobody_starves(cost: int, later: list[tuple[str, int, bool]]) -> None:
    """A search is overtaken by each key for so many tokens only, whoever else comes and goes."""
    served, overtaken = Served(), Counter[str]()
    patient = wanted("a", cost=cost)
    place = served.begin(patient)
    for account, each, ends in later:
        if served.begin(wanted(account, cost=each)) <= place:
            overtaken[account] += each
        if ends:
            served.end(but=patient)
    assert all(tokens <= AHEAD * cost for tokens in overtaken.values())


def test_of_one_key_the_small_one_is_let_by() -> None:
    served = Served()
    large = served.begin(wanted(cost=1000))
    assert served.begin(wanted(cost=50)) < large
    for _ in range(3):
        served.begin(wanted(cost=1000))
    assert served.begin(wanted(cost=50)) > large


def test_a_key_that_floods_waits_behind_itself() -> None:
    served = Served()
    flood = [served.begin(wanted("flooding")) for _ in range(50)]
    for _ in range(10):
        served.end()
    other = served.begin(wanted("other"))
    assert sum(place < other for place in flood[10:]) == 0
    # It has nothing to claim for what was done before it came, and lines up behind itself as well.
    assert other == flood[9]
    assert [served.begin(wanted("other")) for _ in range(3)] == flood[10:13]


def test_shares_are_kept() -> None:
    served = Served()
    low, high = ([served.begin(wanted(a, share=s)) for _ in range(40)] for a, s in (("a", 1), ("b", 4)))
    first = sorted([(place, "low") for place in low] + [(place, "high") for place in high])[:25]
    assert Counter(name for _, name in first) == pytest.approx({"high": 20, "low": 5}, abs=3)


def test_it_begins_anew_when_nothing_runs() -> None:
    served = Served()
    first = served.begin(wanted())
    for _ in range(5):
        served.begin(wanted())
    for _ in range(6):
        served.end()
    assert served.begin(wanted()) == first


async def test_places_are_given_with_turns_and_given_back() -> None:
    rng = Random(3)
    admission = Admission(AdmissionSettings(running=8), Metrics())
    places: list[int] = []

    async def ask(number: int) -> None:
        async with admission.turn(Caller(), request=str(number), cost=100, generations=1) as turn:
            places.append(turn.priority)
            await asyncio.sleep(rng.random() / 100)
            turn.usage = Usage(completion=50)
            if number % 3 == 0:
                raise RuntimeError

    asked = [asyncio.create_task(ask(number)) for number in range(40)]
    await asyncio.sleep(0.005)
    asked[-1].cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert len(places) == 39
    assert places == sorted(places)
    assert places[0] > 0
    assert not admission._precedence._running


def test_all_that_a_search_asks_has_its_place(start: Start, scripted: type[Fixed]) -> None:
    places: list[int] = []

    class Noting(scripted):  # type: ignore[misc, valid-type]
        def _write(self, text: str, rng: Random, sampling: Sampling) -> str:
            places.append(sampling.priority)
            return str(super()._write(text, rng, sampling))

    def ask(**ttc: Any) -> int:
        return live.post(ttc=ttc).status_code

    script = Noting()
    with start(script=script) as live, ThreadPoolExecutor() as pool:
        assert ask(strategy="beam_search", width=2, expand=2) == 200
        assert len(places) > 2
        assert len({*places}) == 1
        first = places[0]
        places.clear()
        script.hold.clear()
        asked = []
        for _ in range(3):
            turns = script.turns
            asked.append(pool.submit(ask, strategy="single"))
            while script.turns == turns:
                time.sleep(0.005)
        script.hold.set()
        assert [each.result() for each in asked] == [200] * 3
    assert 0 < min(places) < first
    assert len({*places}) == 3
