"""A search without barriers grows the tree of the search with barriers."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.beam_search import BeamSearch
from mull.strategies.prospects import Prospect, certain, probable
from mull.testing import ScriptedGenerator, ScriptedVerifier, Trial, World
from mull.testing.golden import tree
from mull.types import Candidate, Chat, Prompt

BARRIERS = Limits(tokens=10**9)
"""Whoever has a limit gets levels one after the other."""
WORLDS = (World(depth=5, branches=6, skill=0.2), World(depth=3, rambling=0.2, silent=0.2), World(depth=2))


def turns(most: int, seed: int) -> Callable[[], Awaitable[None]]:
    """Waits for some turns of the event loop."""
    rng = random.Random(seed)

    async def pause() -> None:
        for _ in range(rng.randint(1, most)):
            await asyncio.sleep(0)

    return pause


async def searched(
    world: World, order: int | None, limits: Limits | None, **fields: Any
) -> tuple[Any, Trial]:
    """One search, its steps and scores arriving as `order` says."""
    hurry = 0 if order is None else order
    trial = Trial(
        BeamSearch(**fields),
        world,
        task=world.task(seed=3, max_tokens=80),
        generator=ScriptedGenerator(world, order=order, spread=24),
        verifier=ScriptedVerifier.noisy(world, noise=0.4, pause=turns(1 + 12 * (hurry % 2), hurry)),
        limits=limits,
    )
    answer = await trial.solve()
    choices = [(c.candidate.text, c.answer, c.score) for c in answer.choices]
    return (choices, answer.confidence, tree(trial.run.trace)), trial


@pytest.mark.parametrize("aggregate", ["min", "last"])
@pytest.mark.parametrize(("width", "expand", "prune"), [(4, 4, 0.0), (2, 6, 0.0), (3, 2, 0.5), (1, 5, 0.0)])
@pytest.mark.parametrize("world", WORLDS, ids=["wide", "messy", "short"])
async def test_the_tree_is_that_of_the_search_with_barriers(
    world: World, width: int, expand: int, prune: float, aggregate: str
) -> None:
    fields = {"width": width, "expand": expand, "prune": prune, "aggregate": aggregate}
    expected, with_barriers = await searched(world, None, BARRIERS, **fields)
    for order in (None, 1, 2, 3, 4, 5):
        found, trial = await searched(world, order, None, **fields)
        assert found == expected
        assert trial.run.usage.completion == with_barriers.run.usage.completion
        found, trial = await searched(world, order, None, speculate=True, **fields)
        assert found == expected
        assert trial.run.usage.completion >= with_barriers.run.usage.completion
        assert trial.generator.in_flight == 0


async def test_speculation_goes_ahead_and_what_was_in_vain_is_billed() -> None:
    world, vain = WORLDS[0], 0
    for order in range(1, 9):
        _, trial = await searched(world, order, None, width=2, expand=6, speculate=True)
        nodes = trial.run.trace.nodes
        lost = [node for node in nodes if node.kind == "cancelled" or node.data.get("vain")]
        useful, _ = await searched(world, order, BARRIERS, width=2, expand=6)
        vain += sum(node.tokens for node in lost)
        assert sum(node.tokens for node in nodes) == trial.run.usage.completion == trial.run.budget.tokens
        assert useful[2] == tree(trial.run.trace)
    assert vain > 0


async def test_nobody_waits_for_a_straggler_that_cannot_matter() -> None:
    """Nine steps of ten have come and been scored; the tenth never does."""
    world, held, ahead = World(depth=4, branches=2, skill=0.9), asyncio.Event(), asyncio.Event()
    engine = ScriptedGenerator(world)
    sample = engine.sample

    async def slow(prompt: Prompt, *args: Any, **fields: Any) -> Any:
        async for completion in sample(prompt, *args, **fields):
            if not prompt.text and completion.index == 9:
                await held.wait()
            if prompt.text:
                ahead.set()
            yield completion

    engine.sample = slow  # type: ignore[method-assign]
    trial = Trial(BeamSearch(width=5, expand=2, speculate=True), world, generator=engine)
    solving = asyncio.create_task(trial.solve())
    async with asyncio.timeout(30):
        await ahead.wait()
    held.set()
    await solving


async def test_a_wide_level_is_not_looked_through_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, look = 0, BeamSearch._ahead

    def counted(*args: Any) -> None:
        nonlocal looks
        looks += 1
        look(*args)

    monkeypatch.setattr(BeamSearch, "_ahead", counted)
    world = World(depth=2, branches=400, skill=0.01)
    _, trial = await searched(world, 1, None, width=16, expand=16, speculate=True, prune=0.0)
    assert trial.run.budget.samples >= 2 * 256
    assert looks < 3 * 40


def prospect(low: float, high: float, *, answer: bool = False, name: str = "") -> Prospect:
    """A step whose score lies between these."""
    step = Candidate(prompt=Prompt(chat=Chat(messages=())), steps=(name,))
    return Prospect(step=step, low=low, high=high, guess=high, answer=answer)


def test_certain_is_what_survives_whatever_the_scores_turn_out_to_be() -> None:
    rng = random.Random(5)
    grid = (0.0, 0.5, 1.0)
    found = 0
    for _ in range(300):
        spans = [sorted((rng.choice(grid), rng.choice(grid))) for _ in range(rng.randint(1, 5))]
        rivals = [prospect(*span, answer=rng.random() < 0.3, name=str(i)) for i, span in enumerate(spans)]
        width, share, enough = rng.randint(1, 4), rng.choice((0.0, 0.4)), rng.choice((None, 1, 2))
        sure = {each.steps[0] for each in certain(rivals, width, share, enough)}
        found += len(sure)
        for scores in itertools.product(*([s for s in grid if low <= s <= high] for low, high in spans)):
            # Whoever is as good as it may be ranked above it.
            for i, own in enumerate(scores):
                others = [s for j, s in enumerate(scores) if j != i]
                ranks = sum(s >= own for s in others) < width and own >= share * max(scores)
                answers = [s for s, r in zip(scores, rivals, strict=True) if r.answer and s >= own]
                over = enough is not None and len(answers) >= enough
                assert str(i) not in sure or (ranks and not over)
    assert found > 100


def test_probable_are_the_best_guesses_less_room_for_those_to_come() -> None:
    rivals = [prospect(s, s, name=str(s)) for s in (0.9, 0.8, 0.7, 0.1)]
    coming = Prospect(step=None, low=-math.inf, high=math.inf, guess=1.0, answer=True)
    assert [c.text for c in probable(rivals, 2, 0.0)] == ["0.9", "0.8"]
    assert [c.text for c in probable([*rivals, *[coming] * 3], 2, 0.0)] == ["0.9"]
    assert [c.text for c in probable(rivals, 4, 0.5)] == ["0.9", "0.8", "0.7"]
    assert probable([], 4, 0.0) == []
