"""Cascade: when a stage is sure enough, what is handed on, what stays."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import BudgetTooSmall
from mull.strategies.cascade import Cascade
from mull.strategies.majority_vote import MajorityVote
from mull.testing import ScriptedGenerator, ScriptedVerifier, Trial, World, solve
from mull.types import Answer, Sampling

WORLD = World()
LONG = "well " * 100


def cascade(*stages: tuple[Any, float]) -> Cascade:
    listed = [{"inner": inner, "at_least": bound} for inner, bound in stages]
    return Cascade.model_validate({"stages": listed}, strict=True)


def vote(n: int, **fields: Any) -> dict[str, Any]:
    return {"strategy": "majority_vote", "n": n, **fields}


async def ask(strategy: Cascade, texts: Sequence[str], **options: Any) -> tuple[Answer, Trial]:
    """Run it over samples with these texts."""
    left = iter(texts)
    engine = ScriptedGenerator(lambda text, rng, sampling: next(left), order=3)
    return await solve(strategy, WORLD, task=WORLD.task(max_tokens=50), generator=engine, **options)


def box(answers: str) -> list[str]:
    return [f"so \\boxed{{{a}}}" for a in answers]


def stages(trial: Trial) -> list[tuple[int, float | None]]:
    found = [node for node in trial.run.trace.nodes if node.kind == "stage"]
    return [(node.data["number"], node.data.get("confidence")) for node in found]


@pytest.mark.parametrize(
    ("answers", "samples", "passed"),
    [
        ("1111", 4, [(1, 1.0)]),
        ("1112", 4, [(1, 0.75)]),
        ("1121" + "2" * 5, 4, [(1, 0.75)]),
        ("1122" + "1111", 8, [(1, 0.5), (2, 0.75)]),
        ("1234" + "1234" + "5555", 12, [(1, 0.25), (2, 0.25), (3, 4 / 12)]),
    ],
)
async def test_an_unsure_stage_is_followed_by_the_next_which_pays_only_for_the_rest(
    answers: str, samples: int, passed: list[tuple[int, float]]
) -> None:
    found, trial = await ask(cascade((vote(4), 0.75), (vote(8), 0.5), (vote(12), 0.0)), box(answers))
    assert (trial.run.budget.samples, len(found.choices)) == (samples, samples)
    assert stages(trial) == passed


async def test_the_last_stage_answers_as_it_would_have_alone() -> None:
    """Handing samples on changes nothing: the vote of 12 is that over the 4 and the 8."""
    strategy = cascade((vote(4), 1.0), (vote(12), 1.0))
    found, _ = await ask(strategy, box("123412342242"))
    alone = MajorityVote(n=12)
    left = iter(box("123412342242"))
    engine = ScriptedGenerator(lambda text, rng, sampling: next(left))
    expected, _ = await solve(alone, WORLD, task=WORLD.task(max_tokens=50), generator=engine)
    assert [c.candidate.text for c in found.choices] == [c.candidate.text for c in expected.choices]


async def test_samples_cut_by_the_request_are_handed_on_too() -> None:
    """Dropping them would give the next stage the short ones only."""
    found, trial = await ask(cascade((vote(4), 1.0), (vote(6), 0.0)), [LONG, *box("12"), LONG, *box("11")])
    assert (trial.run.budget.samples, found.best.votes) == (6, 3.0)
    assert sum(c.candidate.truncated for c in found.choices) == 2


async def test_samples_cut_by_a_stages_own_budget_are_not() -> None:
    first = vote(3, budget={"tokens": 30})
    found, trial = await ask(cascade((first, 1.0), (vote(4), 0.0)), ["so " * 20, *box("1111")])
    cut = [c.candidate for c in found.choices if not c.candidate.complete]
    assert [c.tokens for c in cut] == [30]
    assert found.choices[-1].candidate == cut[0]
    assert found.best.votes == 4.0
    assert trial.run.budget.samples == 5


async def test_steps_of_a_search_are_no_samples() -> None:
    search = {"strategy": "beam_search", "width": 2, "expand": 2}
    _, trial = await solve(cascade((search, 1.0), (vote(3), 0.0)), WORLD)
    node = [n for n in trial.run.trace.nodes if n.kind == "stage"][-1]
    drawn = [n for n in trial.run.trace.nodes if n.kind == "sample"]
    assert len(drawn) == 3
    assert {n.parent for n in drawn} == {node.id}


async def test_a_strategy_without_confidence_is_unsure() -> None:
    _, trial = await ask(cascade(("single", 0.1), (vote(3), 0.0)), box("123"))
    assert [number for number, _ in stages(trial)] == [1, 2]
    _, trial = await ask(cascade(("single", 0.0), (vote(3), 0.0)), box("123"))
    assert [number for number, _ in stages(trial)] == [1]


async def test_an_answer_that_was_cut_off_is_unsure() -> None:
    verifier = ScriptedVerifier.constant(0.9, kind="outcome")
    strategy = cascade(({"strategy": "best_of_n", "n": 1}, 0.5), (vote(2), 0.0))
    found, trial = await ask(strategy, [LONG, *box("1")], verifier=verifier)
    assert (found.best.answer, len(stages(trial))) == ("1", 2)


async def test_what_earlier_stages_found_stays_behind_the_last_answer() -> None:
    search = {"strategy": "beam_search", "width": 2, "expand": 2}
    found, trial = await solve(cascade((vote(3), 1.0), (search, 0.0)), WORLD)
    sampled = {n.id for n in trial.run.trace.nodes if n.kind == "sample"}
    assert sampled <= {c.candidate.node for c in found.choices}
    own = [c.candidate.node in sampled for c in found.choices if c.candidate.complete]
    assert own == sorted(own)


async def test_a_stage_without_any_budget_is_passed_over() -> None:
    """`confidence` draws samples of its own; there are none left for it."""
    strategy = cascade((vote(3), 1.0), ({"strategy": "confidence", "n": 2}, 0.0))
    found, trial = await ask(strategy, box("122"), limits=Limits(samples=3))
    assert (found.best.answer, trial.run.stopped) == ("2", "samples")


async def test_without_any_budget_it_is_an_error() -> None:
    with pytest.raises(BudgetTooSmall):
        await ask(cascade((vote(3), 1.0), (vote(4), 0.0)), [], limits=Limits(samples=0))


async def test_it_saves_where_questions_are_easy_and_is_as_good_as_its_last_stage() -> None:
    strategy, right, reference, spent = cascade((vote(4), 1.0), (vote(16), 0.0)), 0, 0, 0
    for seed in range(60):
        world = World(depth=2, skill=0.95 if seed % 2 else 0.65)
        answer, trial = await solve(strategy, world, task=world.task(seed=seed))
        alone, _ = await solve(MajorityVote(n=16), world, task=world.task(seed=seed))
        right += answer.best.answer == world.reference
        reference += alone.best.answer == world.reference
        spent += trial.run.budget.samples
    assert abs(right - reference) <= 6
    assert spent < 0.75 * 16 * 60


def test_it_needs_what_its_stages_need_and_costs_their_sum() -> None:
    strategy = cascade((vote(4), 0.9), ("beam_search", 0.0))
    assert (strategy.needs.verifier, strategy.needs.continues) == ("process", True)
    assert cascade((vote(4), 0.9), (vote(8), 0.0)).cost().generations == 12


@pytest.mark.parametrize(
    "stages",
    [[], [{"at_least": 0.5}], [{"inner": "single", "at_least": 2.0}], [{"inner": "oracle"}]],
)
def test_bad_parameters_are_refused(stages: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Cascade.model_validate({"stages": stages}, strict=True)


@pytest.mark.parametrize(
    "first",
    [
        {"strategy": "speculative_rejection", "n": 8, "span": 12},
        {"strategy": "confidence", "mode": "online", "n": 8, "warmup": 1, "span": 12, "window": 4},
        {"strategy": "single", "greedy": True},
    ],
)
async def test_only_ordinary_samples_are_handed_on(first: dict[str, Any]) -> None:
    """Answers that happened to fit into one part would be the short ones; greedy ones are no samples."""

    def short_or_long(text: str, rng: random.Random, sampling: Sampling) -> str:
        whole = "\\boxed{7}" if rng.random() < 0.5 else f"{'well ' * 12}\\boxed{{8}}"
        return whole[len(text) :] if whole.startswith(text) else f"{'well ' * 12}\\boxed{{8}}"[len(text) :]

    last = {"inner": {"strategy": "majority_vote", "n": 6}}
    strategy = Cascade.model_validate({"stages": [{"inner": first, "at_least": 1.0}, last]})
    for seed in range(5):
        engine = ScriptedGenerator(short_or_long)
        _, trial = await solve(strategy, WORLD, task=WORLD.task(seed=seed), generator=engine)
        stages = [node for node in trial.run.trace.nodes if node.kind == "stage"]
        if len(stages) < 2:
            continue
        voters = [n for n in trial.run.trace.nodes if n.kind == "sample" and n.parent == stages[1].id]
        warm = 1 if first["strategy"] == "confidence" else 0
        assert len(voters) == 6 - warm
