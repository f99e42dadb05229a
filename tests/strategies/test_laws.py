"""Every strategy keeps every law."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from mull.protocols import Strategy
from mull.strategies.beam_search import BeamSearch
from mull.strategies.best_of_n import BestOfN, WeightedBestOfN
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.registry import STRATEGIES
from mull.strategies.single import Single
from mull.testing import STRATEGY_LAWS, Subject

SUBJECTS: dict[str, Callable[[], Strategy]] = {
    "single": Single,
    "majority_vote": lambda: MajorityVote(n=7),
    "best_of_n": lambda: BestOfN(n=6),
    "weighted_best_of_n": lambda: WeightedBestOfN(n=6),
    "beam_search": lambda: BeamSearch(width=2, expand=3),
    "beam_search_last": lambda: BeamSearch(width=3, expand=2, aggregate="last", prune=0.5),
}


@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", SUBJECTS)
async def test_law(name: str, law: Callable[[Subject], Awaitable[None]]) -> None:
    await law(SUBJECTS[name])


def test_no_strategy_is_left_out() -> None:
    assert set(STRATEGIES.names()) <= set(SUBJECTS)
