"""Tournaments: who wins, in how many comparisons, and where even ones go."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from mull.strategies.tournament import Preferences, knockout, round_robin


def by(strength: Sequence[float], seen: list[tuple[int, int]]) -> Preferences:
    """The stronger one is better."""

    async def prefer(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        seen.extend(pairs)
        return [0.5 + (strength[a] > strength[b]) / 2 - (strength[a] < strength[b]) / 2 for a, b in pairs]

    return prefer


@pytest.mark.parametrize("players", range(10))
async def test_a_knockout_finds_the_best_in_one_comparison_less_than_players(players: int) -> None:
    rng = random.Random(players)
    for _ in range(20):
        strength, seen = [rng.random() for _ in range(players)], list[tuple[int, int]]()
        order = await knockout(rng.sample(range(players), players), by(strength, seen))
        assert sorted(order) == list(range(players))
        assert len(seen) == max(0, players - 1)
        assert not players or strength[order[0]] == max(strength)


@pytest.mark.parametrize("players", range(2, 9))
async def test_a_round_robin_orders_all(players: int) -> None:
    rng = random.Random(players)
    strength, seen = [rng.random() for _ in range(players)], list[tuple[int, int]]()
    values = await round_robin(players, by(strength, seen))
    assert len(set(seen)) == len(seen) == players * (players - 1) // 2
    ranks = sorted(range(players), key=lambda i: -(values[i] or 0.0))
    assert ranks == sorted(range(players), key=lambda i: -strength[i])
    assert (values[ranks[0]], values[ranks[-1]]) == (1.0, 0.0)


@pytest.mark.parametrize("players", [2, 3, 5, 8])
async def test_of_even_players_the_first_wins(players: int) -> None:
    for first in range(players):
        order = await knockout([*range(first, players), *range(first)], by([1.0] * players, []))
        assert order[0] == 0
    assert await round_robin(players, by([1.0] * players, [])) == [0.5] * players


async def test_what_is_not_known_counts_for_nobody() -> None:
    async def prefer(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        return [0.25 if pair == (0, 1) else None for pair in pairs]

    assert await round_robin(4, prefer) == [0.25, 0.75, None, None]
    assert await knockout([3, 2], prefer) == [2, 3]


async def test_who_lost_later_is_ranked_higher() -> None:
    assert await knockout(range(4), by([3, 4, 1, 2], [])) == [1, 3, 0, 2]
