"""Mixture of agents: who is shown what, what it costs, what comes first."""

from __future__ import annotations

from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import InvalidRequest, NotFound
from mull.strategies.mixture_of_agents import MixtureOfAgents
from mull.testing import ScriptedGenerator, Trial, World, solve
from mull.types import Chat

from .readers import answers_in, crowd, everything, knowing, parrot, reader, says, silent

WORLD = World(depth=2, skill=0.6)


async def share(strategy: MixtureOfAgents, runs: int, choose: Any, world: World = WORLD) -> float:
    """How often it is right."""
    right = 0
    for seed in range(runs):
        found, _ = await solve(
            strategy, world, task=world.task(seed=seed), generator=reader(world, choose(world))
        )
        right += found.best.answer == world.reference
    return right / runs


async def test_a_model_that_recognises_the_right_answer_finds_it_if_anyone_does() -> None:
    """1 - (1 - p)^n, p = .36: .89 with 5 proposers, far above one sample."""
    expected, n = 1 - (1 - WORLD.p_right) ** 5, 150
    found = await share(MixtureOfAgents(layers=1, proposers=5), n, knowing)
    assert abs(found - expected) < 4 * (expected * (1 - expected) / n) ** 0.5


async def test_a_model_that_cannot_judge_does_no_harm() -> None:
    """Repeating the first proposal is right as often as one sample."""
    p, n = WORLD.p_right, 150
    found = await share(MixtureOfAgents(layers=2, proposers=3), n, lambda world: parrot)
    assert abs(found - p) < 4 * (p * (1 - p) / n) ** 0.5


async def test_each_layer_is_shown_the_one_before_and_costs_what_it_says() -> None:
    seen: list[list[str]] = []

    def talk(chat: Chat) -> Any:
        seen.append(answers_in(chat))
        return says(f"\\boxed{{{len(seen)}}}")

    strategy = MixtureOfAgents(layers=3, proposers=2)
    found, trial = await solve(strategy, WORLD, generator=ScriptedGenerator(WORLD, talk=talk))
    assert seen == [[], [], ["1", "2"], ["1", "2"], ["3", "4"], ["3", "4"], ["5", "6"]]
    assert [c.answer for c in found.choices] == ["7", "5", "6", "4", "3", "2", "1"]
    assert trial.run.budget.samples == 7 == strategy.cost().generations


async def test_models_take_turns_and_the_aggregator_has_the_last_word() -> None:
    models = {
        name: ScriptedGenerator(says(f"\\boxed{{{answer}}}"), model=name)
        for name, answer in (("a", 1), ("b", 2), ("c", 3))
    }
    strategy = MixtureOfAgents.model_validate(
        {"layers": 2, "proposers": 3, "models": ["a", "b"], "aggregator": "c"}, strict=True
    )
    found, trial = await solve(strategy, WORLD, models=models)
    assert [models[name].calls for name in "abc"] == [2, 2, 1]
    assert sorted(c.answer or "" for c in found.choices) == ["1"] * 4 + ["2"] * 2 + ["3"]
    assert (found.best.answer, found.confidence, trial.generator.calls) == ("3", 0.0, 0)


async def test_a_strong_aggregator_lifts_weak_proposers() -> None:
    weak, right = World(depth=2, skill=0.5), 0
    for seed in range(40):
        models = {"weak": ScriptedGenerator(weak), "judge": reader(weak, knowing(weak))}
        strategy = MixtureOfAgents(layers=1, proposers=8, models=("weak",), aggregator="judge")
        found, _ = await solve(strategy, weak, task=weak.task(seed=seed), models=models)
        right += found.best.answer == weak.reference
    assert right / 40 > 0.7, "one sample: 0.25; eight with a judge: 0.9"


async def test_the_final_answer_is_streamed_and_names_what_it_is_made_of() -> None:
    found, trial = await solve(
        MixtureOfAgents(layers=1, proposers=2), WORLD, generator=reader(WORLD, crowd), commits=True
    )
    assert "".join(chunk.text for chunk in trial.chunks) == found.best.candidate.text
    [node] = [n for n in trial.run.trace.nodes if n.kind == "aggregate" and not n.tokens]
    proposals = [c.candidate.node for c in found.choices[1:]]
    assert sorted(node.data["parents"]) == sorted(proposals)
    assert found.best.candidate.node not in proposals


async def test_without_an_aggregation_the_last_layer_votes() -> None:
    texts = iter(["\\boxed{1}", "\\boxed{2}", "\\boxed{2}"])
    engine = ScriptedGenerator(lambda text, rng, sampling: next(texts))
    found, trial = await solve(
        MixtureOfAgents(layers=1, proposers=3), WORLD, generator=engine, limits=Limits(samples=3)
    )
    assert (found.best.answer, found.best.votes, trial.run.stopped) == ("2", 2.0, "samples")
    assert found.confidence == pytest.approx(2 / 3)


async def test_answers_that_are_cut_off_are_not_shown_where_others_are() -> None:
    texts = iter(["well " * 100, "\\boxed{5}", "\\boxed{6}"])
    shown: list[str] = []

    def talk(chat: Chat) -> Any:
        shown.append(everything(chat))
        return lambda text, rng, sampling: next(texts)

    await solve(MixtureOfAgents(layers=1, proposers=2), WORLD, generator=ScriptedGenerator(WORLD, talk=talk))
    assert "boxed{5}" in shown[-1]
    assert "well well" not in shown[-1]


async def test_thoughts_are_not_shown() -> None:
    shown: list[str] = []

    def talk(chat: Chat) -> Any:
        shown.append(everything(chat))
        return says("<think>hard</think>So \\boxed{1}")

    await solve(MixtureOfAgents(layers=1, proposers=2), WORLD, generator=ScriptedGenerator(WORLD, talk=talk))
    assert "[2]\nSo \\boxed{1}" in shown[-1]
    assert "hard" not in shown[-1]


async def test_what_does_not_fit_the_context_is_left_out_from_the_end() -> None:
    shown: list[list[str]] = []

    def talk(chat: Chat) -> Any:
        shown.append(answers_in(chat))
        return says("so " * 30 + f"\\boxed{{{len(shown)}}}")

    strategy = MixtureOfAgents(layers=1, proposers=4, prompt="{question} {answers}")
    engine = ScriptedGenerator(WORLD, talk=talk, context=520)
    await solve(strategy, WORLD, generator=engine, task=WORLD.task(max_tokens=110))
    assert shown[-1] == ["1", "2", "3"]


async def test_a_question_that_fills_the_context_is_refused_as_ever() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await solve(MixtureOfAgents(), WORLD, generator=ScriptedGenerator(WORLD, context=20))
    assert refused.value.code == "context_length_exceeded"


async def test_braces_in_answers_and_in_the_question_are_no_placeholders() -> None:
    seen: list[str] = []

    def talk(chat: Chat) -> Any:
        seen.append(everything(chat))
        return says("{question} \\boxed{1}")

    await solve(MixtureOfAgents(layers=1, proposers=1), WORLD, generator=ScriptedGenerator(WORLD, talk=talk))
    assert "{question} \\boxed{1}" in seen[-1]


async def test_an_unknown_model_is_refused_before_anything_is_spent() -> None:
    trial = Trial(MixtureOfAgents(models=("oracle",)), WORLD, models={"a": ScriptedGenerator(WORLD)})
    with pytest.raises(NotFound, match="known are a"):
        await trial.solve()
    trial = Trial(MixtureOfAgents(aggregator="oracle"), WORLD, models={"a": ScriptedGenerator(WORLD)})
    with pytest.raises(NotFound, match="known are a"):
        await trial.solve()
    assert trial.generator.calls == 0


async def test_proposals_without_answers_leave_no_confidence() -> None:
    found, _ = await solve(MixtureOfAgents(layers=1, proposers=2), WORLD, generator=ScriptedGenerator(silent))
    assert found.confidence is None


@pytest.mark.parametrize(
    "fields",
    [
        {"layers": 0},
        {"proposers": 0},
        {"proposers": 1, "models": ["a", "b"]},
        {"prompt": "{question}"},
        {"prompt": "{answers}"},
        {"agents": 3},
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MixtureOfAgents.model_validate(fields, strict=True)
