"""The trees that the strategies grow in a seeded world, node by node.

After a change that is meant to alter a search, look at the difference that this makes and keep it:

    MULL_REGENERATE_GOLDEN=1 python -m pytest tests/strategies/test_golden.py && git diff tests/golden
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.base import StrategyModel
from mull.strategies.beam_search import BeamSearch
from mull.strategies.best_of_n import BestOfN, WeightedBestOfN
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.single import Single
from mull.testing import ScriptedGenerator, Trial, World

GOLDEN = Path(__file__).parent.parent / "golden"
WORLD = World(depth=3, branches=3, skill=0.45, rambling=0.1, silent=0.1)

CASES: dict[str, tuple[StrategyModel, Limits | None]] = {
    "single": (Single(), None),
    "majority_vote": (MajorityVote(n=8), None),
    "majority_vote_tokens": (MajorityVote(n=8), Limits(tokens=170)),
    "best_of_n": (BestOfN(n=6), None),
    "weighted_best_of_n": (WeightedBestOfN(n=6, aggregate="mean"), None),
    "beam_search": (BeamSearch(width=2, expand=2), None),
    "beam_search_product_prune": (BeamSearch(width=3, expand=2, aggregate="product", prune=0.5), None),
    "beam_search_samples": (BeamSearch(width=2, expand=3), Limits(samples=11)),
}


async def grown(strategy: StrategyModel, limits: Limits | None) -> dict[str, Any]:
    task = WORLD.task(seed=20, max_tokens=60)
    trial = Trial(strategy, WORLD, task=task, limits=limits, generator=ScriptedGenerator(WORLD, order=5))
    answer = await trial.solve()
    return {
        "answer": answer.best.answer,
        "confidence": None if answer.confidence is None else round(answer.confidence, 6),
        "choices": [
            {
                "text": c.candidate.text,
                "answer": c.answer,
                "score": None if c.score is None else round(c.score, 6),
                "votes": None if c.votes is None else round(c.votes, 6),
            }
            for c in answer.choices
        ],
        "stopped": trial.run.stopped,
        "tokens": trial.run.budget.tokens,
        "verifier_calls": trial.run.verifier_calls,
        "tree": trial.tree,
    }


@pytest.mark.parametrize("name", CASES)
async def test_golden(name: str) -> None:
    found = await grown(*CASES[name])
    path = GOLDEN / f"{name}.json"
    if os.environ.get("MULL_REGENERATE_GOLDEN"):
        path.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(path.read_text())


def test_no_golden_file_is_left_over() -> None:
    assert {p.stem for p in GOLDEN.glob("*.json")} == set(CASES)
