"""Every strategy keeps every law, spends no more than it says, and says where it comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from mull.strategies.registry import STRATEGIES
from mull.testing import STRATEGY_LAWS, ScriptedVerifier, Subject, World, solve
from mull.types import Candidate, Score, Task

from .subjects import SUBJECTS


@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", SUBJECTS)
async def test_law(name: str, law: Callable[[Subject], Awaitable[None]]) -> None:
    await law(SUBJECTS[name])


def test_no_strategy_is_left_out() -> None:
    assert set(STRATEGIES.names()) <= set(SUBJECTS)


class Counting(ScriptedVerifier):
    """Counts the candidates that it scores."""

    scored = 0

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        self.scored += len(candidates)
        return await super().score(task, candidates)


@pytest.mark.parametrize("name", SUBJECTS)
async def test_costs_no_more_than_it_says(name: str) -> None:
    strategy = SUBJECTS[name]()
    said = strategy.cost()
    assert said is not None
    for seed in range(6):
        world = World(depth=2 + seed % 3)
        verifier = Counting.noisy(world)
        _, trial = await solve(strategy, world, task=world.task(seed=seed), verifier=verifier)
        assert trial.run.budget.samples <= said.generations
        assert verifier.scored <= said.scores


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_is_described(name: str) -> None:
    kind = STRATEGIES.get(name)
    assert kind.__doc__
    assert kind.cost_model
    assert kind.source or name in ("single",)
    assert kind.model_json_schema()["type"] == "object"
