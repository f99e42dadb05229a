"""Running a strategy over scripted parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mull.answers import Answers
from mull.budget import Budget, Limits
from mull.protocols import Generator, Retriever, Strategy, Verifier
from mull.run import Run
from mull.testing.generator import ScriptedGenerator
from mull.testing.golden import tree
from mull.testing.retriever import ScriptedRetriever
from mull.testing.verifier import ScriptedVerifier
from mull.testing.world import World
from mull.types import Answer, Chunk, Task

FACTS = ("Take 1, and take it each time.", "Nobody should take 2.")


class Trial:
    """One strategy, one task, scripted parts; what happened can be looked at however it ended.

    Args:
        strategy: What is tried.
        world: Where.
        task: The request; by default the world's own.
        generator: By default one that follows the world.
        verifier: By default a slightly noisy process verifier of the world.
        difficulty: What judges the question alone; by default nothing does.
        models: Other models of the server, by name.
        retrievers: By default one, of two texts that bear on the question.
        limits: The budget.
        answers: By default one of its own, which is never closed: give one if answers need algebra.
        commits: Whether the caller wants committed text while the search goes on.
    """

    def __init__(
        self,
        strategy: Strategy,
        world: World,
        *,
        task: Task | None = None,
        generator: ScriptedGenerator | None = None,
        verifier: Verifier | None = None,
        difficulty: Verifier | None = None,
        models: Mapping[str, Generator] | None = None,
        retrievers: Mapping[str, Retriever] | None = None,
        limits: Limits | None = None,
        answers: Answers | None = None,
        commits: bool = False,
    ) -> None:
        self.strategy = strategy
        self.world = world
        self.task = task or world.task()
        self.generator = generator or ScriptedGenerator(world)
        self.verifier = verifier or ScriptedVerifier.noisy(world)
        self.chunks: list[Chunk] = []
        """What was committed."""
        self.run = Run(
            task=self.task,
            generator=self.generator,
            answers=answers or Answers(),
            verifier=self.verifier,
            difficulty=difficulty,
            models=models,
            retrievers={"scripted": ScriptedRetriever(FACTS)} if retrievers is None else retrievers,
            budget=Budget(limits),
            commit=self.chunks.append if commits else None,
        )

    async def solve(self) -> Answer:
        """The strategy's answer; raises what it raises."""
        return await self.strategy(self.task, self.run)

    @property
    def tree(self) -> dict[str, Any]:
        """The search so far, as `mull.testing.tree` has it."""
        return tree(self.run.trace)


async def solve(strategy: Strategy, world: World, **options: Any) -> tuple[Answer, Trial]:
    """Try a strategy once; `options` are those of `Trial`."""
    trial = Trial(strategy, world, **options)
    return await trial.solve(), trial
