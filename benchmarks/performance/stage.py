"""The engines of this process, with mull over them and without."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.performance.problems import MODELS

from mull.answers import Answers
from mull.engines.launch import EngineSpec, launch, stop
from mull.engines.pool import Pool
from mull.engines.replica import Replica
from mull.engines.sampler import Request
from mull.engines.supervised import Supervised
from mull.engines.vllm import VLLMGenerator
from mull.protocols import Strategy, Verifier
from mull.run import Run
from mull.server.settings import BUNDLE
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.config import build, parse

if TYPE_CHECKING:
    from vllm.sampling_params import SamplingParams

_numbers = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request to the engine, as mull made it."""

    ids: tuple[int, ...]
    params: SamplingParams


class Recorded(VLLMGenerator):
    """Remembers what it asks the engine, so that the same can be asked without mull."""

    def __init__(self, engine: Supervised, *, model: str) -> None:
        super().__init__(engine, model=model)
        self.asked: list[Asked] = []

    def _params(self, request: Request) -> SamplingParams:
        params = super()._params(request)
        self.asked.append(Asked(ids=tuple(request.prompt.ids or ()), params=params))
        return params


class Free:
    """A verifier that costs nothing: scores are drawn by the text of the last step."""

    name = "free"

    def __init__(self, kind: VerifierKind = "process") -> None:
        self.kind: VerifierKind = kind

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """The same for the same step."""
        values = (zlib.crc32(c.steps[-1].encode()) / 2**32 for c in candidates)
        return [Score(value=value, steps=(value,)) for value in values]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The bundled policy and what judges it."""

    engine: Supervised
    recorded: Recorded
    pool: Pool
    """What the server samples from: the same engine, by the same generator."""
    verifiers: dict[str, Verifier]
    answers: Answers

    def run(self, task: Task, verifier: Verifier | None = None) -> Run:
        """A request's run, as the server makes it."""
        return Run(task=task, generator=self.pool, answers=self.answers, verifier=verifier)

    async def solve(self, strategy: Strategy, task: Task, verifier: Verifier | None = None) -> Run:
        """Solve a task and return the run."""
        run = self.run(task, verifier)
        await strategy(task, run)
        return run

    async def recording(
        self, strategy: Strategy, task: Task, verifier: Verifier | None = None
    ) -> list[Asked]:
        """Solve a task and return what the engine was asked."""
        self.recorded.asked.clear()
        await self.solve(strategy, task, verifier)
        return list(self.recorded.asked)

    async def raw(self, asked: Asked, **changes: Any) -> int:
        """The same request without mull; the number of tokens."""
        from vllm.inputs import tokens_input

        params = asked.params.clone()
        for name, value in changes.items():
            setattr(params, name, value)
        tokens, name = 0, f"raw-{next(_numbers)}"
        async for output in self.engine.generate(tokens_input(list(asked.ids)), params, name):
            tokens = sum(len(part.token_ids) for part in output.outputs)
        return tokens

    async def raw_all(self, asked: Sequence[Asked], at_a_time: int) -> int:
        """Requests without mull, so many at a time; the number of tokens."""
        waiting = iter(asked)

        async def worker() -> int:
            return sum([await self.raw(each) for each in waiting])

        return sum(await asyncio.gather(*(worker() for _ in range(at_a_time))))


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Start the engines."""
    configs = {
        "prm": parse({"kind": "prm", "model": str(MODELS / "prm")}),
        "solver": parse(BUNDLE["verifiers"]["solver"]),
    }
    async with AsyncExitStack() as stack:
        engines = await launch([EngineSpec(name="mull-tiny", model=str(MODELS / "policy"))])
        stack.push_async_callback(stop, engines)
        answers = await stack.enter_async_context(Answers())
        verifiers = await build(configs, answers=answers, policies=["mull-tiny"], engines=engines)
        stack.push_async_callback(verifiers.close)
        recorded = Recorded(engines["mull-tiny"], model="mull-tiny")
        pool = Pool("mull-tiny")
        stack.push_async_callback(pool.close)
        pool.add(Replica("mull-tiny", recorded))
        yield Stage(
            engine=engines["mull-tiny"],
            recorded=recorded,
            pool=pool,
            verifiers=dict(verifiers),
            answers=answers,
        )
