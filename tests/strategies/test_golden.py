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
from mull.strategies.adaptive import Adaptive
from mull.strategies.adaptive_consistency import AdaptiveConsistency
from mull.strategies.base import StrategyModel
from mull.strategies.beam_search import BeamSearch
from mull.strategies.best_first import BestFirst
from mull.strategies.best_of_n import BestOfN, WeightedBestOfN
from mull.strategies.budget_forcing import BudgetForcing
from mull.strategies.cascade import Cascade
from mull.strategies.confidence import Confidence
from mull.strategies.cot import CoT
from mull.strategies.debate import Debate
from mull.strategies.dvts import DVTS
from mull.strategies.early_exit import EarlyExit
from mull.strategies.early_stopping import EarlyStopping
from mull.strategies.entropy_branching import EntropyBranching
from mull.strategies.few_shot import FewShot
from mull.strategies.graph_of_thoughts import GraphOfThoughts
from mull.strategies.long_context import LongContext
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.mcts import MCTS
from mull.strategies.mixture_of_agents import MixtureOfAgents
from mull.strategies.nested import Inner
from mull.strategies.particle_filtering import ParticleFiltering
from mull.strategies.rag import Rag
from mull.strategies.rerank import Rerank
from mull.strategies.select import Select
from mull.strategies.self_critique import SelfCritique
from mull.strategies.self_verify import SelfVerify
from mull.strategies.single import Single
from mull.strategies.speculative_rejection import SpeculativeRejection
from mull.strategies.token_beam_search import TokenBeamSearch
from mull.strategies.tree_of_thoughts import TreeOfThoughts
from mull.strategies.tree_search import BreadthFirst, DepthFirst
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
    "beam_search_lookahead": (BeamSearch(width=2, expand=2, lookahead=1), None),
    "dvts": (DVTS(n=4, width=2), None),
    "best_first": (BestFirst(expansions=8, branch=2, batch=2), None),
    "bfs": (BreadthFirst(width=2, branch=2), None),
    "dfs": (DepthFirst(branch=2, expansions=8), None),
    "mcts": (MCTS(simulations=6, branch=3, parallel=2), None),
    "mcts_rollout_visits": (MCTS(simulations=5, branch=2, parallel=2, value="rollout", final="visits"), None),
    "mcts_uct_both_tokens": (MCTS(branch=2, rule="uct", value="both", final="value"), Limits(tokens=150)),
    "particle_filtering": (ParticleFiltering(n=4), None),
    "particle_filtering_gibbs": (ParticleFiltering(n=3, iterations=2, resampling="systematic"), None),
    "token_beam_search": (TokenBeamSearch(width=2, length=6), None),
    "entropy_branching": (EntropyBranching(n=3, span=8), None),
    "best_of_n_length_penalty": (BestOfN(n=6, length_penalty=0.5), None),
    "adaptive": (Adaptive(), None),
    "adaptive_consistency": (AdaptiveConsistency(n=12, batch=3), None),
    "adaptive_consistency_predictive": (AdaptiveConsistency(n=12, batch=2, rule="predictive"), None),
    "budget_forcing": (BudgetForcing(extensions=1, word="\n", end_of_thinking="\n"), None),
    "budget_forcing_cut": (BudgetForcing(thinking=10, closing="\n", end_of_thinking=None), None),
    "cascade": (Cascade(), Limits(samples=20)),
    "confidence": (Confidence(n=6, keep=0.5, window=8), None),
    "confidence_online": (Confidence(mode="online", n=6, warmup=3, batch=2, window=4, span=8), None),
    "early_exit": (EarlyExit(span=9, probe="\\boxed{", end_of_thinking=None), None),
    "early_stopping": (EarlyStopping(n=8, window=2), None),
    "speculative_rejection": (SpeculativeRejection(n=6, span=10), None),
    "mixture_of_agents": (MixtureOfAgents(layers=2, proposers=3), None),
    "debate": (Debate(agents=3, rounds=1), None),
    "tree_of_thoughts": (TreeOfThoughts(depth=2, expand=2, width=2, votes=1), None),
    "tree_of_thoughts_propose": (
        TreeOfThoughts(generate="propose", evaluate="vote", search="dfs", depth=2, expand=2),
        None,
    ),
    "cot": (CoT.model_validate({"inner": {"strategy": "majority_vote", "n": 3}}), None),
    "few_shot": (FewShot(k=2), None),
    "rerank": (Rerank(n=5), None),
    "rerank_rating": (Rerank(n=4, method="rating"), Limits(samples=7)),
    "select": (Select(n=5, votes=2, group=3), None),
    "self_critique": (SelfCritique(rounds=2), None),
    "self_verify": (SelfVerify(n=4, checks="both", vote=True), None),
    "rag": (Rag(inner=Inner.of(MajorityVote(n=3)), at_least=0.9, rounds=2, k=1), None),
    "graph_of_thoughts": (GraphOfThoughts(scorer="verifier"), None),
    "long_context": (
        LongContext(
            split=",",
            window=44,
            note_tokens=8,
            levels=2,
            map_prompt="{part}|{question}",
            reduce_prompt="{notes}|{question}",
        ),
        None,
    ),
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
