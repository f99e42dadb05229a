"""Every strategy, with parameters that make it small: what the laws and the cost models are tried on."""

from __future__ import annotations

from collections.abc import Callable

from mull.strategies.base import StrategyModel
from mull.strategies.beam_search import BeamSearch
from mull.strategies.best_of_n import BestOfN, WeightedBestOfN
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.single import Single

SUBJECTS: dict[str, Callable[[], StrategyModel]] = {
    "single": Single,
    "majority_vote": lambda: MajorityVote(n=7),
    "best_of_n": lambda: BestOfN(n=6),
    "weighted_best_of_n": lambda: WeightedBestOfN(n=6),
    "beam_search": lambda: BeamSearch(width=2, expand=3),
    "beam_search_last": lambda: BeamSearch(width=3, expand=2, aggregate="last", prune=0.5),
}
"""By the strategy's name; more ways to use one of them have a suffix."""
