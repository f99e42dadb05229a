"""The names under which strategies are asked for."""

from __future__ import annotations

from mull.registry import Registry
from mull.strategies.base import StrategyModel

STRATEGIES: Registry[type[StrategyModel]] = Registry(
    "strategy",
    "mull.strategies",
    {
        "single": "mull.strategies.single:Single",
        "majority_vote": "mull.strategies.majority_vote:MajorityVote",
        "best_of_n": "mull.strategies.best_of_n:BestOfN",
        "weighted_best_of_n": "mull.strategies.best_of_n:WeightedBestOfN",
        "beam_search": "mull.strategies.beam_search:BeamSearch",
    },
)
