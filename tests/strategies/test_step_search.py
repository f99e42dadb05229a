"""What all searches over reasoning steps have in common."""

from __future__ import annotations

from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import BudgetTooSmall, InvalidRequest, Unsupported
from mull.strategies.base import StrategyModel
from mull.strategies.beam_search import BeamSearch
from mull.strategies.best_first import BestFirst
from mull.strategies.dvts import DVTS
from mull.strategies.mcts import MCTS
from mull.strategies.particle_filtering import ParticleFiltering
from mull.strategies.steps import StepSearch
from mull.strategies.tree_search import BreadthFirst, DepthFirst
from mull.testing import ScriptedGenerator, ScriptedVerifier, World, solve

from .searching import search

DEEP = World(depth=6, branches=3, skill=0.4)
"""One sample of 250 is right; all its answers together are 1821 steps."""

EXHAUSTIVE = sum(DEEP.branches**level for level in range(1, DEEP.depth + 1)) + DEEP.branches**DEEP.depth

KINDS: tuple[type[StepSearch], ...] = (
    BeamSearch,
    DVTS,
    BestFirst,
    BreadthFirst,
    DepthFirst,
    MCTS,
    ParticleFiltering,
)

# With twelve samples of a step the right one is nearly always among them.
FINDERS: dict[str, tuple[StrategyModel, int]] = {
    "beam_search": (BeamSearch(width=1, expand=12), 7 * 12),
    "lookahead": (BeamSearch(width=1, expand=12, lookahead=1), 7 * 2 * 12),
    "dvts": (DVTS(n=12, width=12), 7 * 12),
    "best_first": (BestFirst(expansions=7, branch=12, batch=1), 7 * 12),
    "bfs": (BreadthFirst(width=1, branch=12), 7 * 12),
    "dfs": (DepthFirst(branch=12), 7 * 12),
    "mcts": (MCTS(simulations=7, branch=12, parallel=1), 7 * 12),
    "particle_filtering": (ParticleFiltering(n=12), 7 * 12),
}


@pytest.mark.parametrize("name", FINDERS)
async def test_a_perfect_verifier_finds_the_optimum_at_the_cost_of_one_path(name: str) -> None:
    strategy, cost = FINDERS[name]
    found = 0
    for seed in range(30):
        verifier = ScriptedVerifier.perfect(DEEP)
        answer, trial = await solve(strategy, DEEP, task=DEEP.task(seed=seed), verifier=verifier)
        found += answer.best.answer == DEEP.reference
        # Where no sample of a step is right, a search looks elsewhere; nothing is right there.
        if answer.best.answer == DEEP.reference:
            assert trial.run.budget.samples <= cost
    assert DEEP.p_right < 0.005
    assert cost < EXHAUSTIVE / 10
    assert found >= 27, "each path is found with probability (1 - .6 ** 12) ** 6 = .987"


SMALL: dict[str, StrategyModel] = {
    "beam_search": BeamSearch(width=2, expand=2),
    "lookahead": BeamSearch(width=2, expand=2, lookahead=1),
    "dvts": DVTS(n=4, width=2),
    "dvts_score": DVTS(n=4, width=2, final="score"),
    "best_first": BestFirst(branch=2, batch=2),
    "best_first_mean": BestFirst(expansions=12, branch=2, batch=2, aggregate="mean"),
    "bfs": BreadthFirst(width=3, branch=2),
    "dfs": DepthFirst(branch=2),
    "mcts": MCTS(simulations=8, branch=2, parallel=2),
    "mcts_rollout": MCTS(simulations=4, branch=2, parallel=2, value="rollout"),
    "mcts_visits": MCTS(simulations=8, branch=2, parallel=2, final="visits"),
    "particle_filtering": ParticleFiltering(n=4),
    "particle_filtering_vote": ParticleFiltering(n=4, iterations=2, final="vote"),
}


@pytest.mark.parametrize("verifier", ["constant", "random"])
@pytest.mark.parametrize("name", SMALL)
async def test_a_useless_verifier_does_no_harm(name: str, verifier: str) -> None:
    """Steered by nothing it is right as often as one sample: p = .36, 4 sigma; a guess has .11."""
    world, n = World(depth=2, skill=0.6), 100
    found = 0
    for seed in range(n):
        judge = ScriptedVerifier.constant() if verifier == "constant" else ScriptedVerifier.random(seed=seed)
        answer, _ = await solve(SMALL[name], world, task=world.task(seed=seed), verifier=judge)
        found += answer.best.answer == world.reference
    p = world.p_right
    assert found / n > p - 4 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
async def test_no_prefix_is_scored_twice(kind: type[StepSearch]) -> None:
    paths = [f"{a}\n{b}\n\\boxed{{{a}{b}}}" for a in "123" for b in "12"]
    _, trial = await search(kind(), paths, {"1": 0.6, "2": 0.9})
    scored = [n for n in trial.run.trace.nodes if n.score is not None]
    verifier: Any = trial.verifier
    assert len(verifier.scored) == len(scored) > 3


@pytest.mark.parametrize("kind", KINDS)
async def test_the_delimiter_is_configurable(kind: type[StepSearch]) -> None:
    _, trial = await search(kind(delimiter=". "), ["one. two. \\boxed{3}"], {})
    assert {n.text for n in trial.run.trace.nodes[1:]} == {"one. ", "two. ", "\\boxed{3}"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_long_step_counts_as_several(kind: type[StepSearch]) -> None:
    answer, trial = await search(kind(step_tokens=4), ["take 1\n\\boxed{1}"], {})
    steps = [n for n in trial.run.trace.nodes[1:] if n.kind == "step" or n.parent == 0]
    assert max(n.tokens for n in steps) == 4
    assert answer.best.answer == "1"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_token_limit_cuts_off_is_never_continued(kind: type[StepSearch]) -> None:
    answer, trial = await search(kind(), ["x\n" * 40], {}, max_tokens=11)
    assert answer.best.candidate.truncated
    ended = {n.id for n in trial.run.trace.nodes if n.finish == "length"}
    assert not ended & {n.parent for n in trial.run.trace.nodes}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_engine_that_cannot_continue_is_refused(kind: type[StepSearch]) -> None:
    world = World()
    with pytest.raises(Unsupported, match="cannot continue"):
        await solve(kind(), world, generator=ScriptedGenerator(world, continues=False))


@pytest.mark.parametrize("kind", KINDS)
async def test_temperature_0_is_refused(kind: type[StepSearch]) -> None:
    world = World()
    with pytest.raises(InvalidRequest, match="temperature"):
        await solve(kind(), world, task=world.task(temperature=0.0))


@pytest.mark.parametrize("kind", KINDS)
async def test_no_budget_at_all_is_refused(kind: type[StepSearch]) -> None:
    with pytest.raises(BudgetTooSmall):
        await solve(kind(), World(), limits=Limits(samples=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fields",
    [{"depth": 0}, {"delimiter": ""}, {"aggregate": "median"}, {"step_tokens": 0}, {"beams": 3}],
)
def test_bad_parameters_are_refused(kind: type[StepSearch], fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        kind.model_validate(fields)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (DVTS, {"n": 6, "width": 4}),
        (DVTS, {"n": 0}),
        (DVTS, {"final": "visits"}),
        (BestFirst, {"batch": 0}),
        (BestFirst, {"expansions": 5000}),
        (BreadthFirst, {"threshold": 1.1}),
        (BreadthFirst, {"expansions": 3}),
        (DepthFirst, {"width": 0}),
        (MCTS, {"simulations": 0}),
        (MCTS, {"rule": "ucb"}),
        (MCTS, {"mixing": 1.5}),
        (MCTS, {"exploration": -1}),
        (ParticleFiltering, {"resampling": "residual"}),
        (ParticleFiltering, {"weight_temperature": 0}),
        (ParticleFiltering, {"iterations": 0}),
    ],
)
def test_bad_parameters_of_its_own_are_refused(kind: type[StepSearch], fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        kind.model_validate(fields)
