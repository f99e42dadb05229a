"""Speculative rejection: what is dropped when, what it costs, and that a good verifier loses nothing."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import Unsupported
from mull.strategies.best_of_n import BestOfN
from mull.strategies.speculative_rejection import SpeculativeRejection
from mull.testing import ScriptedGenerator, ScriptedVerifier, World, solve
from mull.types import Sampling

WORLD = World()
PATHS = [f"{letter} " + "step " * 12 + f"\\boxed{{{i}}}" for i, letter in enumerate("abcdefgh")]
"""Answers of 72 tokens, told apart by their first letter."""


def fixed(text: str, rng: random.Random, sampling: Sampling) -> str:
    """One of the answers; what has begun goes on as it must."""
    fitting = [path for path in PATHS if path.startswith(text)]
    return rng.choice(fitting)[len(text) :]


def rated(order: str) -> ScriptedVerifier:
    """Likes an answer the better the later its letter comes in this order, from its first token on."""
    return ScriptedVerifier(lambda text, ended: (1 + order.index(text[0])) / 10, kind="outcome")


async def test_a_perfect_verifier_gives_the_answer_of_best_of_n_for_fewer_tokens() -> None:
    spent = reference = 0
    for seed in range(25):
        task = WORLD.task(seed=seed)
        options: dict[str, Any] = {"task": task, "verifier": rated("hgfedcba")}
        answer, trial = await solve(
            SpeculativeRejection(n=8, span=9), WORLD, generator=ScriptedGenerator(fixed), **options
        )
        best, whole = await solve(BestOfN(n=8), WORLD, generator=ScriptedGenerator(fixed), **options)
        assert answer.best.candidate.text == best.best.candidate.text
        assert answer.confidence == best.confidence
        spent += trial.run.budget.tokens
        reference += whole.run.budget.tokens
    assert spent < 0.4 * reference, "8 + 4 + 2 spans of 9 and one whole answer of 73, against 8 of them"


async def test_the_field_halves_every_span() -> None:
    _, trial = await solve(
        SpeculativeRejection(n=8, span=9),
        WORLD,
        generator=ScriptedGenerator(fixed),
        verifier=rated("abcdefgh"),
    )
    depth = [0]
    for node in trial.run.trace.nodes[1:]:
        depth.append(depth[node.parent or 0] + 1)
    assert list(Counter(depth).values())[1:] == [8, 4, 2, 1]
    assert [n.tokens for n in trial.run.trace.nodes[1:15]] == [9] * 14
    dropped = [depth[n.id] for n in trial.run.trace.nodes if n.data.get("pruned")]
    assert sorted(dropped) == [1] * 4 + [2] * 2 + [3]
    assert trial.run.verifier_calls == 4


@pytest.mark.parametrize(("reject", "fields"), [(0.5, [5, 3, 2, 1]), (0.2, [5, 4, 3, 2, 1]), (0.9, [5, 1])])
async def test_the_share_to_reject_is_rounded_down_but_one_goes_each_time(
    reject: float, fields: list[int]
) -> None:
    strategy = SpeculativeRejection(n=5, span=9, reject=reject)
    _, trial = await solve(
        strategy, WORLD, generator=ScriptedGenerator(fixed), verifier=ScriptedVerifier.constant()
    )
    assert trial.run.budget.samples == sum(fields) == strategy.cost().generations


async def test_finished_answers_are_kept_whatever_their_score_then() -> None:
    texts = {
        "a": "a \\boxed{1}",
        "b": "b " + "step " * 12 + "\\boxed{2}",
        "c": "c " + "step " * 9 + "\\boxed{3}",
    }
    order = iter("abcb")

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        return texts[text[0]][len(text) :] if text else texts[next(order)]

    answer, _ = await solve(
        SpeculativeRejection(n=4, span=20),
        WORLD,
        generator=ScriptedGenerator(script),
        verifier=ScriptedVerifier(
            lambda text, ended: {"a": 0.4, "b": 0.3, "c": 0.2}[text[0]], kind="outcome"
        ),
    )
    assert [c.answer for c in answer.choices] == ["1", "2", None, None]
    assert [c.candidate.text[0] for c in answer.choices] == ["a", "b", "b", "c"]


async def test_ties_go_to_the_earlier_sample_and_not_to_the_shorter() -> None:
    """Without any knowledge of the verifier the first sample survives and wins, however long it is."""
    order = iter(["so " * 30 + "\\boxed{1}", *["\\boxed{2}"] * 3])
    texts: list[str] = []

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        if not text:
            texts.append(next(order))
            return texts[-1]
        return next(t for t in texts if t.startswith(text))[len(text) :]

    answer, _ = await solve(
        SpeculativeRejection(n=4, span=16),
        WORLD,
        generator=ScriptedGenerator(script),
        verifier=ScriptedVerifier.constant(),
    )
    assert [c.answer for c in answer.choices] == ["1", "2", "2", "2"]


async def test_a_process_verifier_guides_it_as_well_as_best_of_n() -> None:
    world = World(depth=3, branches=3, skill=0.5)
    right = sampled = 0
    for seed in range(40):
        options: dict[str, Any] = {"task": world.task(seed=seed), "verifier": ScriptedVerifier.perfect(world)}
        answer, trial = await solve(SpeculativeRejection(n=16, span=7), world, **options)
        best, whole = await solve(BestOfN(n=16), world, **options)
        right += answer.best.answer == world.reference
        sampled += best.best.answer == world.reference
        assert trial.run.budget.tokens < 0.6 * whole.run.budget.tokens
    assert right >= sampled - 6


@pytest.mark.parametrize("coin", [False, True])
async def test_a_useless_verifier_does_no_harm(coin: bool) -> None:
    """It is right as often as one sample: p = .36, 4 sigma."""
    world, n, right = World(depth=2, skill=0.6), 120, 0
    for seed in range(n):
        verifier = ScriptedVerifier.random(seed=seed) if coin else ScriptedVerifier.constant()
        answer, _ = await solve(
            SpeculativeRejection(n=4, span=7), world, task=world.task(seed=seed), verifier=verifier
        )
        right += answer.best.answer == world.reference
    assert abs(right / n - world.p_right) < 4 * (world.p_right * (1 - world.p_right) / n) ** 0.5


async def test_one_answer_is_sampled_whole() -> None:
    _, trial = await solve(SpeculativeRejection(n=1, span=4), WORLD)
    assert trial.run.budget.samples == 1


async def test_a_spent_budget_returns_what_has_ended_first() -> None:
    answer, trial = await solve(
        SpeculativeRejection(n=8, span=9),
        WORLD,
        generator=ScriptedGenerator(fixed),
        verifier=rated("abcdefgh"),
        limits=Limits(samples=10),
    )
    assert (len(answer.choices), answer.best.answer, trial.run.stopped) == (8, None, "samples")
    assert answer.best.score == max(c.score or 0 for c in answer.choices)


async def test_an_engine_that_cannot_continue_is_refused() -> None:
    with pytest.raises(Unsupported, match="cannot continue"):
        await solve(
            SpeculativeRejection(n=4, span=4), WORLD, generator=ScriptedGenerator(WORLD, continues=False)
        )


@pytest.mark.parametrize("fields", [{"n": 0}, {"span": 0}, {"reject": 0.0}, {"reject": 1.0}, {"keep": 1}])
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        SpeculativeRejection.model_validate(fields)
