from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mull.engines.routing import SPREAD, choose, root_of
from mull.types import Bare, Chat


@dataclass
class Worker:
    name: str
    in_flight: int = 0


def workers(n: int) -> list[Worker]:
    return [Worker(f"10.0.0.{number}:8000") for number in range(n)]


ROOTS = [root_of(Chat(messages=({"role": "user", "content": f"question {n}"},))) for n in range(2000)]


def test_conversations_are_spread_evenly() -> None:
    load = Counter(choose(workers(5), root).name for root in ROOTS)
    # 400 each, with a standard deviation of 18.
    assert all(300 < count < 500 for count in load.values()), load


def test_a_replica_that_goes_moves_its_own_conversations_only() -> None:
    before, after = workers(5), workers(4)
    moved = [root for root in ROOTS if choose(before, root).name != choose(after, root).name]
    assert all(choose(before, root).name == before[4].name for root in moved)
    assert len(moved) == sum(choose(before, root).name == before[4].name for root in ROOTS)


def test_the_order_of_replicas_does_not_matter() -> None:
    assert all(choose(workers(5), root).name == choose(workers(5)[::-1], root).name for root in ROOTS[:200])


def test_the_home_of_a_prefix_comes_first() -> None:
    found = workers(3)
    assert all(choose(found, root, found[1].name) is found[1] for root in ROOTS[:50])
    assert choose(found, ROOTS[0], "gone") is choose(found, ROOTS[0])


def test_one_search_does_not_queue_at_one_replica_while_others_idle() -> None:
    found = workers(4)
    for _ in range(100):
        choose(found, ROOTS[0]).in_flight += 1
    loads = sorted(worker.in_flight for worker in found)
    assert sum(loads) == 100
    # Nobody is more than a quarter above the mean of 25 (and one request).
    assert loads[-1] <= 33


def test_a_small_search_stays_together() -> None:
    found = workers(4)
    for _ in range(SPREAD):
        choose(found, ROOTS[0]).in_flight += 1
    assert sorted(worker.in_flight for worker in found) == [0, 0, 0, SPREAD]


def test_even_a_home_is_left_when_it_has_too_much_to_do() -> None:
    found = workers(2)
    found[0].in_flight = 100
    assert choose(found, ROOTS[0], found[0].name) is found[1]


def test_the_turns_of_a_conversation_have_one_root() -> None:
    first = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}]
    later = [*first, {"role": "assistant", "content": "3"}, {"role": "user", "content": "Sure?"}]
    other = [first[0], {"role": "user", "content": "How much?"}]
    assert root_of(Chat(messages=tuple(first))) == root_of(Chat(messages=tuple(later)))
    assert root_of(Chat(messages=tuple(first))) != root_of(Chat(messages=tuple(other)))
    assert root_of(Chat.of(Bare(text="a"))) != root_of(Chat.of(Bare(text="b")))
