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
        "dvts": "mull.strategies.dvts:DVTS",
        "best_first": "mull.strategies.best_first:BestFirst",
        "bfs": "mull.strategies.tree_search:BreadthFirst",
        "dfs": "mull.strategies.tree_search:DepthFirst",
        "mcts": "mull.strategies.mcts:MCTS",
        "particle_filtering": "mull.strategies.particle_filtering:ParticleFiltering",
        "token_beam_search": "mull.strategies.token_beam_search:TokenBeamSearch",
        "entropy_branching": "mull.strategies.entropy_branching:EntropyBranching",
        "adaptive": "mull.strategies.adaptive:Adaptive",
        "adaptive_consistency": "mull.strategies.adaptive_consistency:AdaptiveConsistency",
        "budget_forcing": "mull.strategies.budget_forcing:BudgetForcing",
        "cascade": "mull.strategies.cascade:Cascade",
        "confidence": "mull.strategies.confidence:Confidence",
        "early_exit": "mull.strategies.early_exit:EarlyExit",
        "early_stopping": "mull.strategies.early_stopping:EarlyStopping",
        "speculative_rejection": "mull.strategies.speculative_rejection:SpeculativeRejection",
        "mixture_of_agents": "mull.strategies.mixture_of_agents:MixtureOfAgents",
        "debate": "mull.strategies.debate:Debate",
        "cot": "mull.strategies.cot:CoT",
        "few_shot": "mull.strategies.few_shot:FewShot",
        "rerank": "mull.strategies.rerank:Rerank",
        "select": "mull.strategies.select:Select",
        "self_critique": "mull.strategies.self_critique:SelfCritique",
        "self_verify": "mull.strategies.self_verify:SelfVerify",
        "tree_of_thoughts": "mull.strategies.tree_of_thoughts:TreeOfThoughts",
        "rag": "mull.strategies.rag:Rag",
        "graph_of_thoughts": "mull.strategies.graph_of_thoughts:GraphOfThoughts",
        "long_context": "mull.strategies.long_context:LongContext",
    },
)
