"""Orders from comparisons of two: knockout and round robin, whoever compares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import combinations
from statistics import fmean

Preferences = Callable[[Sequence[tuple[int, int]]], Awaitable[list[float | None]]]
"""For pairs of players, how likely the first of each is the better one; None where that is not known."""


async def knockout(players: Sequence[int], prefer: Preferences) -> list[int]:
    """The players, best first: the winner, then the others, the later they lost the better.

    Neighbours in `players` meet, then the winners of neighbouring pairs; it takes one comparison less than
    there are players. Even and unknown ones go to the lower number; of an odd number of players, the lowest
    one goes on without.
    """
    left, out = list(players), list[int]()
    while len(left) > 1:
        resting = min(left) if len(left) % 2 else None
        playing = [player for player in left if player != resting]
        pairs = [(min(pair), max(pair)) for pair in zip(playing[::2], playing[1::2], strict=True)]
        preferred = await prefer(pairs)
        won = {b if p is not None and p < 0.5 else a for (a, b), p in zip(pairs, preferred, strict=True)}
        out = sorted(player for player in playing if player not in won) + out
        left = [player for player in left if player in won or player == resting]
    return left + out


async def round_robin(players: int, prefer: Preferences) -> list[float | None]:
    """For each of the players, numbered from 0, the mean preference over others; None where none is known.

    It takes `players * (players - 1) / 2` comparisons.
    """
    pairs = list(combinations(range(players), 2))
    known: list[list[float]] = [[] for _ in range(players)]
    for (a, b), p in zip(pairs, await prefer(pairs), strict=True):
        if p is not None:
            known[a].append(p)
            known[b].append(1 - p)
    return [fmean(values) if values else None for values in known]
