"""Adaptive: what the probe says, which level follows, what is paid, what stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import BudgetTooSmall, InvalidRequest, Unsupported
from mull.strategies.adaptive import Adaptive
from mull.strategies.base import Needs
from mull.strategies.best_of_n import BestOfN
from mull.testing import ScriptedGenerator, ScriptedVerifier, Trial, World, solve
from mull.trace import Node
from mull.types import Answer, TokenLogprob

WORLD = World()
MAJORITY = "majority_vote"


def levels(*pairs: tuple[float, Any]) -> list[dict[str, Any]]:
    return [{"at_least": bound, "inner": inner} for bound, inner in pairs]


def adaptive(*pairs: tuple[float, Any], **fields: Any) -> Adaptive:
    return Adaptive.model_validate({"levels": levels(*pairs), **fields}, strict=True)


def of(n: int, name: str = MAJORITY) -> dict[str, Any]:
    return {"strategy": name, "n": n}


def decision(trial: Trial) -> Node:
    (node,) = [node for node in trial.run.trace.nodes if node.kind == "adaptive"]
    return node


async def ask(strategy: Adaptive, texts: Sequence[str], **options: Any) -> tuple[Answer, Trial]:
    """Run it over samples with these texts."""
    left = iter(texts)
    engine = ScriptedGenerator(lambda text, rng, sampling: next(left), order=3)
    return await solve(strategy, WORLD, task=WORLD.task(max_tokens=50), generator=engine, **options)


def box(*answers: str) -> list[str]:
    return [f"so \\boxed{{{a}}}" for a in answers]


@pytest.mark.parametrize(
    ("answers", "signal", "level", "samples"),
    [
        (["1", "1", "1", "1"], 1.0, 0, 4),
        (["1", "2", "1", "1"], 0.75, 1, 6),
        (["1", "2", "1", "3"], 0.5, 1, 6),
        (["1", "2", "3", "4"], 0.25, 2, 9),
    ],
)
async def test_the_agreement_of_the_probe_chooses_and_its_answers_are_reused(
    answers: list[str], signal: float, level: int, samples: int
) -> None:
    strategy = adaptive((1.0, of(4)), (0.5, of(6)), (0.0, of(9)))
    found, trial = await ask(strategy, box(*answers, *["7"] * 5))
    assert decision(trial).data == {"signal": signal, "by": "agreement", "level": level, "samples": 4}
    assert (trial.run.budget.samples, len(found.choices)) == (samples, samples)


async def test_a_unanimous_probe_costs_only_itself_and_answers_with_certainty() -> None:
    found, trial = await ask(adaptive((1.0, of(2)), (0.0, of(40)), samples=2), box("8", "8"))
    assert (found.best.answer, found.confidence, trial.generator.calls) == ("8", 1.0, 1)


async def test_unreadable_answers_count_against_agreement() -> None:
    texts = ["well " * 100, "no idea", *box("1", "1"), *box("1", "1")]
    _, trial = await ask(adaptive((0.75, of(4)), (0.5, of(5)), (0.0, of(6))), texts)
    assert (decision(trial).data["signal"], trial.run.budget.samples) == (0.5, 5)


async def test_without_any_readable_answer_the_signal_is_0() -> None:
    _, trial = await ask(adaptive((0.1, of(4)), (0.0, of(5))), ["hm"] * 5)
    assert (decision(trial).data["signal"], decision(trial).data["level"]) == (0.0, 1)


@pytest.mark.parametrize(("probability", "level"), [(0.95, 0), (0.6, 1)])
async def test_the_mean_probability_of_the_tokens_is_a_signal(probability: float, level: int) -> None:
    engine = ScriptedGenerator(WORLD, sure=lambda text: probability)
    strategy = adaptive((0.9, of(3)), (0.0, of(5)), samples=3, signal="confidence")
    _, trial = await solve(strategy, WORLD, generator=engine)
    assert decision(trial).data["signal"] == pytest.approx(probability)
    assert (decision(trial).data["level"], trial.run.budget.samples) == (level, 5 if level else 3)
    assert trial.generator.seen[0].logprobs == 0
    assert all(sampling.logprobs is None for sampling in trial.generator.seen[1:])


async def test_an_engine_without_log_probabilities_is_refused() -> None:
    class Mute(ScriptedGenerator):
        def _logprobs(self, *_: object) -> tuple[TokenLogprob, ...]:
            return ()

    engine = Mute(WORLD)
    with pytest.raises(Unsupported, match="log-probabilities"):
        await solve(adaptive((0.0, "single"), signal="confidence"), WORLD, generator=engine)


async def test_the_mean_score_is_a_signal() -> None:
    strategy = adaptive((0.8, of(2, "best_of_n")), (0.0, of(8, "best_of_n")), samples=2, signal="score")
    for value, level in ((0.9, 0), (0.3, 1)):
        verifier = ScriptedVerifier.constant(value, kind="outcome")
        _, trial = await solve(strategy, WORLD, verifier=verifier)
        assert decision(trial).data["signal"] == pytest.approx(value)
        assert decision(trial).data["level"] == level


async def test_easy_questions_pay_less_and_hard_ones_lose_nothing() -> None:
    """With a perfect verifier it is right as often as best-of-12, at far fewer samples where that is easy."""
    strategy = adaptive((0.75, of(4, "best_of_n")), (0.0, of(12, "best_of_n")), signal="score")
    for world, least, most in ((World(depth=2, skill=0.97), 4, 5), (World(depth=2, skill=0.5), 9, 12)):
        right, reference, spent = 0, 0, 0
        for seed in range(60):
            options: dict[str, Any] = {"task": world.task(seed=seed)}
            verifier = ScriptedVerifier.perfect(world, kind="outcome")
            answer, trial = await solve(strategy, world, verifier=verifier, **options)
            best, _ = await solve(BestOfN(n=12), world, verifier=verifier, **options)
            right += answer.best.answer == world.reference
            reference += best.best.answer == world.reference
            spent += trial.run.budget.samples
        assert abs(right - reference) <= 6
        assert least <= spent / 60 <= most


async def test_a_useless_signal_does_no_harm() -> None:
    """A coin sends questions to votes of 4 or of 12: right as often as a vote of 4 at least, 4 sigma."""
    world, n, right, small = World(depth=2, skill=0.65), 80, 0, 0
    strategy = adaptive((0.5, of(4)), (0.0, of(12)), signal="score")
    for seed in range(n):
        verifier = ScriptedVerifier.random(seed=seed, kind="outcome")
        answer, _ = await solve(strategy, world, task=world.task(seed=seed), verifier=verifier)
        right += answer.best.answer == world.reference
        vote, _ = await solve(adaptive((0.0, of(4))), world, task=world.task(seed=seed), verifier=verifier)
        small += vote.best.answer == world.reference
    assert right > small - 4 * (n * 0.25) ** 0.5
    assert right > 0.4 * n


async def test_answers_that_the_level_did_not_use_stay_behind_its_own() -> None:
    search = {"strategy": "beam_search", "width": 2, "expand": 2}
    world = World(rambling=0.3)
    for seed in range(6):
        task = world.task(seed=seed, max_tokens=60)
        answer, trial = await solve(adaptive((0.0, search), samples=3), world, task=task)
        node = decision(trial)
        probes = {n.id for n in trial.run.trace.nodes[: node.id] if n.kind == "sample"}
        assert len(probes) == 3
        complete = [c.candidate.complete for c in answer.choices]
        assert complete == sorted(complete, reverse=True)
        own = [c.candidate.node in probes for c in answer.choices if c.candidate.complete]
        assert own == sorted(own)
        assert probes <= {c.candidate.node for c in answer.choices}


async def test_the_level_is_drawn_below_its_decision() -> None:
    _, trial = await ask(adaptive((0.0, of(5))), box(*"12345"))
    node = decision(trial)
    assert [n.parent for n in trial.run.trace.nodes[1:]] == [0, 0, 0, 0, 0, node.id]


async def test_a_level_left_without_budget_gives_the_best_of_the_probe() -> None:
    """`confidence` asks for samples of its own and gets none."""
    strategy = adaptive((0.0, {"strategy": "confidence", "n": 4}), samples=3)
    answer, trial = await ask(strategy, box("3", "4", "4"), limits=Limits(samples=3))
    assert (answer.best.answer, answer.best.votes, trial.run.stopped) == ("4", 2.0, "samples")


async def test_a_level_may_have_a_part_of_the_budget() -> None:
    strategy = adaptive((0.0, {**of(20), "budget": {"samples": 3}}), samples=2)
    _, trial = await ask(strategy, box(*"1234567"))
    assert trial.run.budget.samples == 5


async def test_a_probe_without_any_budget_is_an_error() -> None:
    with pytest.raises(BudgetTooSmall):
        await ask(adaptive((0.0, of(5))), box("1"), limits=Limits(samples=0))


async def test_a_level_can_be_adaptive_itself() -> None:
    inner = {"strategy": "adaptive", "samples": 4, "levels": levels((0.0, of(6)))}
    found, trial = await ask(adaptive((0.0, inner), samples=4), box(*"112233"))
    assert (trial.run.budget.samples, found.best.answer) == (6, "1")


def test_it_needs_what_its_levels_need() -> None:
    plain = adaptive((0.5, of(4)), (0.0, of(8)))
    assert (plain.needs.verifier, plain.needs.continues) == (None, False)
    assert adaptive((0.0, of(4)), signal="score").needs.verifier == "outcome"
    search = adaptive((0.5, of(4, "best_of_n")), (0.0, "beam_search"))
    assert (search.needs.verifier, search.needs.continues) == ("process", True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"levels": []}, "last at_least must be 0"),
        ({"levels": levels((0.5, "single"))}, "last at_least must be 0"),
        ({"levels": levels((0.5, "single"), (0.5, "single"), (0.0, "single"))}, "must fall"),
        ({"levels": levels((0.2, "single"), (0.5, "single"), (0.0, "single"))}, "must fall"),
        ({"levels": levels((0.0, "oracle"))}, "unknown strategy 'oracle'"),
        ({"levels": [{"at_least": 0.0}]}, "inner"),
        ({"levels": [{"at_least": 0.0, "inner": "single", "n": 3}]}, "Extra inputs"),
        ({"signal": "luck"}, "signal"),
        ({"samples": 0}, "samples"),
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Adaptive.model_validate(fields, strict=True)


def rated(ease: float, **options: Any) -> ScriptedVerifier:
    return ScriptedVerifier(lambda text, ended: ease, kind="difficulty", **options)


@pytest.mark.parametrize(("ease", "level", "samples"), [(0.9, 0, 1), (0.5, 1, 3), (0.1, 2, 6)])
async def test_a_difficulty_head_chooses_before_anything_is_sampled(
    ease: float, level: int, samples: int
) -> None:
    strategy = adaptive((0.8, of(1)), (0.5, of(3)), (0.0, of(6)), signal="difficulty")
    found, trial = await ask(strategy, box(*"777777"), difficulty=rated(ease))
    assert decision(trial).data == {"signal": ease, "by": "difficulty", "level": level, "samples": 0}
    assert (trial.run.budget.samples, len(found.choices)) == (samples, samples)
    assert trial.run.verifier_calls == 1


async def test_the_head_stands_beside_the_verifier_of_the_answers() -> None:
    strategy = adaptive((0.0, of(4, "best_of_n")), signal="difficulty")
    assert strategy.needs == Needs(verifier="outcome", difficulty=True)
    found, trial = await ask(strategy, box(*"1234"), verifier=judge_of("3"), difficulty=rated(0.3))
    assert (found.best.answer, trial.run.verifier_calls) == ("3", 2)


async def test_without_a_difficulty_head_the_signal_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="kind difficulty"):
        await ask(adaptive((0.0, of(2)), signal="difficulty"), box("1", "1"))


def judge_of(answer: str) -> ScriptedVerifier:
    return ScriptedVerifier(lambda text, ended: float(f"{{{answer}}}" in text), kind="outcome")
