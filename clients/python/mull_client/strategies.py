# Made by clients/python/generate from the JSON Schemas of the server's strategies.
# ruff: noqa: D101, E501, E704
# fmt: off
"""The server's strategies and their parameters (`_`: left to the server), as in docs/strategies.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mull_client.options import DEFAULT as _
from mull_client.options import Inner, Strategy

Aggregate = Literal["min", "last", "product", "mean"]
Final = Literal["score", "vote"]

class Adaptive(Strategy):
    def __init__(self, *, samples: int = _, signal: Literal["agreement", "confidence", "score", "difficulty"] = _,
                 levels: Sequence[Mapping[str, Any]] = _) -> None: self._set("adaptive", locals())
class AdaptiveConsistency(Strategy):
    def __init__(self, *, n: int = _, batch: int = _, confidence: float = _,
                 rule: Literal["beta", "dirichlet", "predictive"] = _) -> None: self._set("adaptive_consistency", locals())
class BeamSearch(Strategy):
    def __init__(self, *, depth: int = _, delimiter: str = _, step_tokens: int | None = _, aggregate: Aggregate = _, width: int = _, expand: int = _,
                 prune: float = _, lookahead: int = _, speculate: bool = _) -> None: self._set("beam_search", locals())
class BestFirst(Strategy):
    def __init__(self, *, depth: int = _, delimiter: str = _, step_tokens: int | None = _, aggregate: Aggregate = _, expansions: int = _,
                 branch: int = _, batch: int = _, final: Final = _) -> None: self._set("best_first", locals())
class BestOfN(Strategy):
    def __init__(self, *, n: int = _, aggregate: Aggregate = _, length_penalty: float = _) -> None: self._set("best_of_n", locals())
class BreadthFirst(Strategy):
    def __init__(self, *, depth: int = _, delimiter: str = _, step_tokens: int | None = _, aggregate: Aggregate = _, branch: int = _,
                 threshold: float = _, final: Final = _, width: int = _) -> None: self._set("bfs", locals())
class BudgetForcing(Strategy):
    def __init__(self, *, closing: str = _, end_of_thinking: str | None = _, extensions: int = _, word: str = _,
                 thinking: int | None = _) -> None: self._set("budget_forcing", locals())
class Cascade(Strategy):
    def __init__(self, *, stages: Sequence[Mapping[str, Any]] = _) -> None: self._set("cascade", locals())
class Confidence(Strategy):
    def __init__(self, *, mode: Literal["offline", "online"] = _, n: int = _, keep: float = _,
                 measure: Literal["lowest", "bottom", "tail", "mean"] = _, window: int = _, top: int = _, warmup: int = _, batch: int = _,
                 span: int = _, checks: int = _, consensus: float = _) -> None: self._set("confidence", locals())
class CoT(Strategy):
    def __init__(self, *, instruction: str = _, inner: Inner = _) -> None: self._set("cot", locals())
class Debate(Strategy):
    def __init__(self, *, agents: int = _, rounds: int = _, models: Sequence[str] = _, prompt: str = _) -> None: self._set("debate", locals())
class DepthFirst(Strategy):
    def __init__(self, *, depth: int = _, delimiter: str = _, step_tokens: int | None = _, aggregate: Aggregate = _, branch: int = _,
                 threshold: float = _, final: Final = _, width: int = _, expansions: int = _) -> None: self._set("dfs", locals())
class DVTS(Strategy):
    def __init__(self, *, depth: int = _, delimiter: str = _, step_tokens: int | None = _, aggregate: Aggregate = _, n: int = _, width: int = _,
                 final: Final = _) -> None: self._set("dvts", locals())
class EarlyExit(Strategy):
    def __init__(self, *, closing: str = _, end_of_thinking: str | None = _, span: int = _, delimiter: str | None = _, probe: str = _,
                 probe_tokens: int = _, probes: int = _, agree: int = _) -> None: self._set("early_exit", locals())
class EarlyStopping(Strategy):
    def __init__(self, *, n: int = _, window: int = _) -> None: self._set("early_stopping", locals())
class EntropyBranching(Strategy):
    def __init__(self, *, n: int = _, branch: int = _, threshold: float = _, span: int = _, reach: int = _,
                 final: Literal["vote", "score", "weighted"] = _, aggregate: Aggregate = _) -> None: self._set("entropy_branching", locals())
class FewShot(Strategy):
    def __init__(self, *, examples: Sequence[Mapping[str, Any]] = _, k: int = _, retriever: str | None = _, preface: str = _,
                 inner: Inner = _) -> None: self._set("few_shot", locals())
class GraphOfThoughts(Strategy):
    def __init__(self, *, graph: Sequence[Mapping[str, Any]] = _,
                 scorer: Literal["model", "verifier"] = _) -> None: self._set("graph_of_thoughts", locals())
class LongContext(Strategy):
    def __init__(self, *, inner: Inner = _, split: str | None = _, window: int | None = _, parts: int = _, overlap: float = _, note_tokens: int = _,
                 levels: int = _, nothing: str = _, map_prompt: str = _, reduce_prompt: str = _) -> None: self._set("long_context", locals())
class MajorityVote(Strategy):
    def __init__(self, *, n: int = _) -> None: self._set("majority_vote", locals())
class MCTS(Strategy):
    def __init__(self, *, depth: int = _, delimiter: str = _, step_tokens: int | None = _, aggregate: Aggregate = _, simulations: int = _,
                 branch: int = _, parallel: int = _, rule: Literal["puct", "uct"] = _, exploration: float = _,
                 prior: Literal["uniform", "logprob", "process"] = _, value: Literal["process", "rollout", "both"] = _, mixing: float = _,
                 final: Literal["score", "vote", "visits", "value"] = _) -> None: self._set("mcts", locals())
class MixtureOfAgents(Strategy):
    def __init__(self, *, layers: int = _, proposers: int = _, models: Sequence[str] = _, aggregator: str | None = _,
                 prompt: str = _) -> None: self._set("mixture_of_agents", locals())
class ParticleFiltering(Strategy):
    def __init__(self, *, depth: int = _, delimiter: str = _, step_tokens: int | None = _, aggregate: Aggregate = _, n: int = _, iterations: int = _,
                 resampling: Literal["multinomial", "systematic"] = _, resample_below: float = _, weight_temperature: float = _,
                 final: Final = _) -> None: self._set("particle_filtering", locals())
class Rag(Strategy):
    def __init__(self, *, k: int = _, retriever: str | None = _, query: Literal["question", "written"] = _, inner: Inner = _, at_least: float = _,
                 rounds: int = _, prompt: str = _, passage: str = _, query_prompt: str = _) -> None: self._set("rag", locals())
class Rerank(Strategy):
    def __init__(self, *, n: int = _, method: Literal["p_true", "rating", "pairwise"] = _, tournament: Literal["knockout", "round_robin"] = _,
                 check: str = _, rate: str = _, scale: int = _, compare: str = _, first: str = _,
                 second: str = _) -> None: self._set("rerank", locals())
class Select(Strategy):
    def __init__(self, *, n: int = _, votes: int = _, group: int = _, item: str = _, prompt: str = _) -> None: self._set("select", locals())
class SelfCritique(Strategy):
    def __init__(self, *, inner: Inner = _, rounds: int = _, critique: str = _, revise: str = _,
                 accept: str = _) -> None: self._set("self_critique", locals())
class SelfVerify(Strategy):
    def __init__(self, *, n: int = _, checks: Literal["proof", "answer", "both"] = _, vote: bool = _, check: str = _, statement: str = _,
                 good: str = _, bad: str = _) -> None: self._set("self_verify", locals())
class Single(Strategy):
    def __init__(self, *, greedy: bool = _) -> None: self._set("single", locals())
class SpeculativeRejection(Strategy):
    def __init__(self, *, n: int = _, span: int = _, reject: float = _,
                 aggregate: Aggregate = _) -> None: self._set("speculative_rejection", locals())
class TokenBeamSearch(Strategy):
    def __init__(self, *, width: int = _, length: int = _, length_penalty: float = _) -> None: self._set("token_beam_search", locals())
class TreeOfThoughts(Strategy):
    def __init__(self, *, generate: Literal["sample", "propose"] = _, evaluate: Literal["value", "vote", "verifier"] = _,
                 search: Literal["bfs", "dfs"] = _, depth: int = _, expand: int = _, width: int = _, threshold: float = _, visits: int = _,
                 votes: int = _, delimiter: str = _, aggregate: Aggregate = _, propose_prompt: str = _, done: str = _, answer_prompt: str = _,
                 value_prompt: str = _, vote_prompt: str = _) -> None: self._set("tree_of_thoughts", locals())
class WeightedBestOfN(Strategy):
    def __init__(self, *, n: int = _, aggregate: Aggregate = _, length_penalty: float = _) -> None: self._set("weighted_best_of_n", locals())
