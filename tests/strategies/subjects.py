"""Every strategy, with parameters that make it small: what the laws and the cost models are tried on."""

from __future__ import annotations

from collections.abc import Callable

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

SUBJECTS: dict[str, Callable[[], StrategyModel]] = {
    "single": Single,
    "single_greedy": lambda: Single(greedy=True),
    "majority_vote": lambda: MajorityVote(n=7),
    "best_of_n": lambda: BestOfN(n=6),
    "weighted_best_of_n": lambda: WeightedBestOfN(n=6),
    "beam_search": lambda: BeamSearch(width=2, expand=3),
    "beam_search_last": lambda: BeamSearch(width=3, expand=2, aggregate="last", prune=0.5),
    "beam_search_lookahead": lambda: BeamSearch(width=2, expand=2, lookahead=2, step_tokens=9),
    "beam_search_speculate": lambda: BeamSearch(width=2, expand=3, speculate=True),
    "dvts": lambda: DVTS(n=4, width=2),
    "dvts_score": lambda: DVTS(n=6, width=3, final="score", step_tokens=4),
    "best_first": lambda: BestFirst(expansions=8, branch=2, batch=2),
    "best_first_mean": lambda: BestFirst(expansions=8, branch=3, batch=1, final="vote", aggregate="mean"),
    "bfs": lambda: BreadthFirst(width=2, branch=3),
    "dfs": lambda: DepthFirst(branch=3, expansions=8),
    "mcts": lambda: MCTS(simulations=8, branch=3, parallel=3),
    "mcts_rollout": lambda: MCTS(
        simulations=6, branch=2, parallel=1, value="rollout", rule="uct", final="visits"
    ),
    "mcts_both": lambda: MCTS(
        simulations=6, branch=2, parallel=1, value="both", prior="logprob", final="value"
    ),
    "mcts_vote": lambda: MCTS(simulations=6, branch=3, parallel=2, prior="process", final="vote"),
    "particle_filtering": lambda: ParticleFiltering(n=4),
    "particle_filtering_gibbs": lambda: ParticleFiltering(
        n=4, iterations=2, resampling="systematic", resample_below=0.5, final="vote"
    ),
    "token_beam_search": lambda: TokenBeamSearch(width=2, length=30),
    "entropy_branching": lambda: EntropyBranching(n=4, span=5),
    "entropy_branching_score": lambda: EntropyBranching(n=5, span=3, branch=3, reach=12, final="score"),
    "best_of_n_length": lambda: BestOfN(n=6, length_penalty=0.3),
    "weighted_best_of_n_length": lambda: WeightedBestOfN(n=6, length_penalty=0.3),
    "adaptive": lambda: Adaptive.model_validate(
        {
            "samples": 3,
            "levels": [
                {"at_least": 1.0, "inner": "single"},
                {"at_least": 0.5, "inner": {"strategy": "majority_vote", "n": 5}},
                {"at_least": 0.0, "inner": {"strategy": "majority_vote", "n": 7}},
            ],
        }
    ),
    "adaptive_score": lambda: Adaptive.model_validate(
        {
            "samples": 2,
            "signal": "score",
            "levels": [
                {"at_least": 0.9, "inner": {"strategy": "best_of_n", "n": 2}},
                {"at_least": 0.0, "inner": {"strategy": "best_of_n", "n": 6}},
            ],
        }
    ),
    "adaptive_confidence": lambda: Adaptive.model_validate(
        {
            "samples": 2,
            "signal": "confidence",
            "levels": [{"at_least": 0.0, "inner": {"strategy": "beam_search", "width": 2, "expand": 3}}],
        }
    ),
    "adaptive_consistency": lambda: AdaptiveConsistency(n=7, batch=2, confidence=0.8),
    "adaptive_consistency_dirichlet": lambda: AdaptiveConsistency(n=7, batch=3, rule="dirichlet"),
    "adaptive_consistency_predictive": lambda: AdaptiveConsistency(n=7, batch=2, rule="predictive"),
    "budget_forcing": lambda: BudgetForcing(extensions=2, end_of_thinking=None),
    "budget_forcing_cut": lambda: BudgetForcing(
        extensions=1, thinking=12, end_of_thinking=None, closing="\n", word="\n"
    ),
    "budget_forcing_tag": lambda: BudgetForcing(extensions=1, end_of_thinking="\n", word="\n", closing=""),
    "cascade": lambda: Cascade.model_validate(
        {
            "stages": [
                {"inner": {"strategy": "majority_vote", "n": 2}, "at_least": 1.0},
                {"inner": {"strategy": "majority_vote", "n": 4}, "at_least": 0.75},
                {"inner": {"strategy": "best_of_n", "n": 6}},
            ]
        }
    ),
    "cascade_search": lambda: Cascade.model_validate(
        {
            "stages": [
                {"inner": {"strategy": "best_of_n", "n": 2}, "at_least": 0.9},
                {"inner": {"strategy": "beam_search", "width": 2, "expand": 2}},
            ]
        }
    ),
    "confidence": lambda: Confidence(n=6, keep=0.5, window=8),
    "confidence_online": lambda: Confidence(
        mode="online", n=6, warmup=3, batch=2, window=4, span=8, checks=3, keep=0.5
    ),
    "early_exit": lambda: EarlyExit(span=9, probes=3, agree=2, end_of_thinking=None, probe="\\boxed{"),
    "early_exit_tag": lambda: EarlyExit(
        span=5, probes=2, agree=1, end_of_thinking="\n", probe="\\boxed{1}", closing=""
    ),
    "early_stopping": lambda: EarlyStopping(n=7, window=2),
    "speculative_rejection": lambda: SpeculativeRejection(n=6, span=8),
    "speculative_rejection_slow": lambda: SpeculativeRejection(n=5, span=10, reject=0.2, aggregate="mean"),
    "mixture_of_agents": lambda: MixtureOfAgents(layers=2, proposers=3),
    "debate": lambda: Debate(agents=3, rounds=2),
    "cot": CoT,
    "cot_best_of_n": lambda: CoT.model_validate({"inner": {"strategy": "best_of_n", "n": 4}}),
    "few_shot": lambda: FewShot.model_validate(
        {
            "examples": [{"question": "Take 2.", "answer": "take 2"}],
            "inner": {"strategy": "majority_vote", "n": 4},
        }
    ),
    "few_shot_retrieved": FewShot,
    "rerank": lambda: Rerank(n=5),
    "rerank_p_true": lambda: Rerank(n=5, method="p_true"),
    "rerank_rating": lambda: Rerank(n=5, method="rating"),
    "rerank_round_robin": lambda: Rerank(n=4, tournament="round_robin"),
    "select": lambda: Select(n=5),
    "select_groups": lambda: Select(n=6, group=2, votes=3),
    "self_critique": SelfCritique,
    "self_critique_vote": lambda: SelfCritique.model_validate(
        {"inner": {"strategy": "majority_vote", "n": 4}, "rounds": 2}
    ),
    "self_verify": lambda: SelfVerify(n=5),
    "self_verify_both": lambda: SelfVerify(n=4, checks="both", vote=True),
    "tree_of_thoughts": lambda: TreeOfThoughts(depth=2, expand=2, width=2, votes=1),
    "tree_of_thoughts_vote": lambda: TreeOfThoughts(evaluate="vote", depth=3, expand=3, width=2, votes=2),
    "tree_of_thoughts_dfs": lambda: TreeOfThoughts(
        evaluate="verifier", search="dfs", depth=4, expand=2, threshold=0.5, visits=9
    ),
    "tree_of_thoughts_propose": lambda: TreeOfThoughts(
        generate="propose", depth=2, expand=2, width=2, votes=2
    ),
    "tree_of_thoughts_propose_dfs": lambda: TreeOfThoughts(
        generate="propose", evaluate="vote", search="dfs", depth=2, expand=3, visits=4
    ),
    "tree_of_thoughts_propose_verifier": lambda: TreeOfThoughts(
        generate="propose", evaluate="verifier", depth=2, expand=3, width=2
    ),
    "rag": Rag,
    "rag_again": lambda: Rag.model_validate(
        {
            "inner": {"strategy": "best_of_n", "n": 2},
            "query": "written",
            "k": 1,
            "at_least": 0.95,
            "rounds": 2,
        }
    ),
    "rag_search": lambda: Rag.model_validate({"inner": {"strategy": "beam_search", "width": 2, "expand": 2}}),
    "graph_of_thoughts": GraphOfThoughts,
    "graph_of_thoughts_verifier": lambda: GraphOfThoughts(scorer="verifier"),
    "graph_of_thoughts_parts": lambda: GraphOfThoughts.model_validate(
        {
            "graph": [
                {"op": "generate", "n": 2, "prompt": "First half: {question}", "part": True},
                {"op": "generate", "from": [], "n": 2, "prompt": "Second: {question}", "part": True},
                {"op": "generate", "from": [0], "n": 1},
                {"op": "refine", "from": [1]},
                {"op": "aggregate", "from": [2, 3], "n": 2},
            ]
        }
    ),
    "long_context": LongContext,
    "long_context_parts": lambda: LongContext.model_validate(
        {
            "inner": {"strategy": "best_of_n", "n": 2},
            "split": ",",
            "window": 44,
            "parts": 8,
            "note_tokens": 8,
            "levels": 2,
            "map_prompt": "{part}|{question}",
            "reduce_prompt": "{notes}|{question}",
        }
    ),
}
"""By the strategy's name; more ways to use one of them have a suffix."""
