"""Two real engines of the bundled policy in this process, behind mull's pool or another router."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks.performance.problems import MODELS, task
from benchmarks.performance.stage import Free
from benchmarks.scaling.engine import EngineLimits
from benchmarks.scaling.watched import Steps, watched
from benchmarks.scaling.work import Tree

from mull.answers import Answers
from mull.engines.launch import EngineSpec, launch, stop
from mull.engines.pool import Pool
from mull.engines.replica import Replica
from mull.engines.supervised import Supervised
from mull.engines.vllm import VLLMGenerator
from mull.run import Run
from mull.strategies.beam_search import BeamSearch
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.single import Single
from mull.types import Prompt

NAME = "mull-tiny"
STRATEGIES = {
    "search": BeamSearch(width=4, expand=4, aggregate="last"),
    "vote": MajorityVote(n=16),
    "single": Single(),
}


class RoundRobin(Pool):
    """For comparison only."""

    _turn = -1

    def _choice(self, prompt: Prompt | None, tried: Sequence[tuple[Replica, int]]) -> Replica | None:
        self._turn += prompt is not None
        return self.replicas[self._turn % len(self.replicas)]


class LeastLoaded(Pool):
    """For comparison only."""

    def _choice(self, prompt: Prompt | None, tried: Sequence[tuple[Replica, int]]) -> Replica | None:
        return min(self.replicas, key=lambda replica: replica.in_flight)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The engines, and the ways to route to them."""

    engines: Sequence[Supervised]
    pools: dict[str, Pool]
    answers: Answers
    steps: Steps

    @property
    def limits(self) -> EngineLimits:
        """What each engine has room for."""
        config = self.engines[0].vllm_config
        return EngineLimits(
            sequences=config.scheduler_config.max_num_seqs,
            tokens=config.scheduler_config.max_num_batched_tokens,
            # One is vLLM's own.
            blocks=config.cache_config.num_gpu_blocks - 1,
        )

    async def solve(self, route: str, kind: str, question: str, seed: int) -> Run:
        """One request, as the server would do it."""
        asked = task(question, seed)
        verifier = Free() if kind == "search" else None
        run = Run(task=asked, generator=self.pools[route], answers=self.answers, verifier=verifier)
        await STRATEGIES[kind](asked, run)
        return run


@asynccontextmanager
async def paired() -> AsyncIterator[Pair]:
    """Start them."""
    async with AsyncExitStack() as stack:
        steps = stack.enter_context(watched())
        specs = [
            EngineSpec(name=name, model=str(MODELS / "policy"), options={"served_model_name": NAME})
            for name in (NAME, f"{NAME}/1")
        ]
        engines = await launch(specs)
        stack.push_async_callback(stop, engines)
        answers = await stack.enter_async_context(Answers())
        pools: dict[str, Pool] = {
            "affine": Pool(NAME),
            "round robin": RoundRobin(NAME),
            "least loaded": LeastLoaded(NAME),
        }
        for pool in pools.values():
            stack.push_async_callback(pool.close)
            for name, engine in engines.items():
                pool.add(Replica(name, VLLMGenerator(engine, model=NAME)))
        yield Pair(engines=list(engines.values()), pools=pools, answers=answers, steps=steps)


def tree(run: Run) -> Tree:
    """What was generated, in the order in which it ended."""
    nodes = [node for node in run.trace.nodes if node.tokens and node.usage.prompt]
    places = {node.id: place for place, node in enumerate(nodes)}
    depths, levels = dict[int, int](), defaultdict[int, list[float]](list)
    for node in nodes:
        depths[node.id] = depth = depths.get(node.parent or 0, 0) + 1
        levels[depth].append(node.ended)
    steps = tuple(
        (
            places.get(node.parent or 0, -1),
            node.tokens,
            sum(ended > node.started for ended in levels[depths[node.id] - 1]),
        )
        for node in nodes
    )
    return Tree(min(node.usage.prompt for node in nodes), steps)
