"""Particle filtering: weights, resampling, copies, iterations."""

from __future__ import annotations

import random
from collections import Counter
from statistics import fmean

import pytest

from mull.budget import Limits
from mull.strategies.particle_filtering import ParticleFiltering, Resampling, draw
from mull.testing import ScriptedVerifier, World, solve

from .searching import depths, search, texts

PATHS = [f"{a}\n{b}\n\\boxed{{{a}{b}}}" for a in "ab" for b in "xy"]

# -- resampling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["multinomial", "systematic"])
def test_each_is_drawn_as_often_as_its_weight_says(how: Resampling) -> None:
    rng, weights, n, times = random.Random(1), [0.5, 0.3, 0.2, 0.0], 10, 2000
    drawn = Counter(i for _ in range(times) for i in draw(how, weights, n, rng))
    assert drawn[3] == 0
    for i, weight in enumerate(weights):
        # Systematic resampling varies less than this.
        sigma = (n * times * weight * (1 - weight)) ** 0.5
        assert abs(drawn[i] - n * times * weight) <= 4 * sigma


def test_systematic_resampling_rounds_the_expected_number() -> None:
    rng, weights = random.Random(2), [0.34, 0.33, 0.25, 0.08]
    for _ in range(200):
        drawn = Counter(draw("systematic", weights, 10, rng))
        assert all(int(10 * w) <= drawn[i] <= int(10 * w) + 1 for i, w in enumerate(weights))
        assert drawn.total() == 10
    assert draw("systematic", [0.25] * 4, 4, rng) == [0, 1, 2, 3], "equal weights change nothing"


def test_the_seed_decides() -> None:
    for how in ("multinomial", "systematic"):
        first, again = (draw(how, [0.4, 0.6], 20, random.Random(5)) for _ in range(2))
        assert first == again


# -- filtering ---------------------------------------------------------------------------------------------


async def test_bad_particles_die_and_good_ones_multiply() -> None:
    answer, trial = await search(ParticleFiltering(n=8), PATHS, {"a": 0.01, "b": 0.99})
    copies = {n.text: n.data.get("copies") for n in trial.run.trace.nodes if n.parent == 0 and n.score}
    assert copies == {"a\n": 0, "b\n": 8}
    assert {c.candidate.text[0] for c in answer.choices} == {"b"}


async def test_copies_go_on_in_one_call_and_go_apart() -> None:
    _, trial = await search(ParticleFiltering(n=8), PATHS, {"a": 0.01, "b": 0.99, "x": 0.6, "y": 0.6})
    assert trial.generator.calls <= 1 + 1 + 2
    assert {"x\n", "y\n"} <= {n.text for n in trial.run.trace.nodes if (n.data.get("copies") or 0) > 0}
    assert [depths(trial).count(level) for level in (1, 2)] == [8, 8]


async def test_however_often_it_is_drawn_an_answer_is_one_candidate() -> None:
    paths = ["short \\boxed{1}", *PATHS]
    rates = {"short \\boxed{1}": 0.999, "a": 0.001, "b": 0.001}
    answer, trial = await search(ParticleFiltering(n=6, final="vote"), paths, rates)
    [node] = [n for n in trial.run.trace.nodes if n.data.get("copies") == 6]
    assert node.text == "short \\boxed{1}"
    [only] = answer.choices
    assert only.answer == "1"
    assert only.votes == pytest.approx(0.999)


async def test_temperature_sharpens_the_weights() -> None:
    kept: dict[float, list[int]] = {0.2: [], 5.0: []}
    for temperature, good in kept.items():
        for seed in range(20):
            world = World(depth=2, branches=2, skill=0.5)
            verifier = ScriptedVerifier(lambda text, ended: 0.7 if text.startswith("take 1") else 0.3)
            strategy = ParticleFiltering(n=10, weight_temperature=temperature)
            task = world.task(seed=seed)
            _, trial = await solve(strategy, world, task=task, verifier=verifier)
            first = [n for n in trial.run.trace.nodes if n.parent == 0 and n.text == "take 1\n"]
            good.append(sum(int(n.data.get("copies", 0)) for n in first))
    # Odds of 7 to 3 to the power of 5 and of 1 / 5.
    assert fmean(kept[0.2]) > 9.3
    assert 4 < fmean(kept[5.0]) < 7


@pytest.mark.parametrize(("below", "resampled"), [(0.0, False), (0.4, False), (0.9, True), (1.0, True)])
async def test_resampling_waits_until_few_particles_are_effective(below: float, resampled: bool) -> None:
    """Half of the particles have almost all the weight: half of them are effective."""
    _, trial = await search(ParticleFiltering(n=8, resample_below=below), PATHS, {"a": 0.01, "b": 0.9})
    assert any(n.parent == 0 and "copies" in n.data for n in trial.run.trace.nodes) == resampled


async def test_what_is_cut_off_does_not_survive() -> None:
    answer, _ = await search(ParticleFiltering(n=6), ["x" * 90, *PATHS], {"a": 0.5, "b": 0.5}, max_tokens=20)
    assert answer.best.candidate.complete
    assert answer.choices[-1].candidate.truncated


async def test_equal_steps_are_one_node_but_stay_as_many_particles() -> None:
    _, trial = await search(ParticleFiltering(n=4), ["a\n\\boxed{1}"], {})
    assert texts(trial, merged=True) == ["a\n"] * 3 + ["\\boxed{1}"] * 3
    assert texts(trial, copies=4) == ["a\n"]
    assert trial.generator.calls == 2


async def test_a_spent_budget_returns_the_best_so_far() -> None:
    answer, trial = await search(
        ParticleFiltering(n=4), PATHS, {"a": 0.01, "b": 0.99}, limits=Limits(samples=5)
    )
    assert trial.run.stopped == "samples"
    assert answer.best.candidate.text.startswith("b\n")


async def test_it_follows_the_verifier_s_posterior() -> None:
    """Two equally likely first steps scored .8 and .5, odds of 4 to 1: the first gets 4/5 of the copies."""
    world, n = World(depth=1, branches=2, skill=0.5), 40
    verifier = ScriptedVerifier(lambda text, ended: 0.8 if text.startswith("take 1") else 0.5)
    shares = []
    for seed in range(n):
        task = world.task(seed=seed)
        _, trial = await solve(ParticleFiltering(n=32), world, task=task, verifier=verifier)
        first = [x for x in trial.run.trace.nodes if x.parent == 0 and x.text == "take 1\n"]
        shares.append(sum(int(x.data.get("copies", 0)) for x in first) / 32)
    assert abs(fmean(shares) - 0.8) < 0.05


# -- iterations --------------------------------------------------------------------------------------------


async def test_further_iterations_keep_a_particle_without_generating_it_again() -> None:
    _, once = await search(ParticleFiltering(n=4), PATHS, {})
    answer, twice = await search(ParticleFiltering(n=4, iterations=2), PATHS, {})
    levels = [depths(trial).count(1) for trial in (once, twice)]
    assert levels == [4, 4 + 3], "the kept particle has its first step already"
    assert len({c.candidate.node for c in answer.choices}) == len(answer.choices)


async def test_the_kept_particle_survives_every_resampling() -> None:
    """The other particles are far better, yet it is there at every level."""
    world = World(depth=3, branches=3, skill=0.5)
    for seed in range(10):
        strategy = ParticleFiltering(n=3, iterations=3)
        answer, trial = await solve(strategy, world, task=world.task(seed=seed))
        assert trial.run.budget.samples <= 4 * (3 + 2 + 2)
        assert answer.best.candidate.complete


async def test_iterations_find_more() -> None:
    world, n = World(depth=4, branches=3, skill=0.5), 50
    right = {}
    for iterations in (1, 4):
        strategy, right[iterations] = ParticleFiltering(n=3, iterations=iterations), 0
        for seed in range(n):
            verifier = ScriptedVerifier.perfect(world)
            answer, _ = await solve(strategy, world, task=world.task(seed=seed), verifier=verifier)
            right[iterations] += answer.best.answer == world.reference
    assert right[4] > right[1] + 5
