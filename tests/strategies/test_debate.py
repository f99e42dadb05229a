"""Debate: who reads whom, when it ends, whose vote counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.debate import Debate
from mull.testing import ScriptedGenerator, World, solve
from mull.types import Chat

from .readers import answers_in, crowd, knowing, reader, says

WORLD = World(depth=2, skill=0.6)


def turns(*answers: str) -> Callable[[Chat], Any]:
    """A talk whose replies have these answers, in the order of asking."""
    left = iter(answers)
    return lambda chat: says(f"so \\boxed{{{next(left)}}}")


async def test_agents_who_recognise_the_right_answer_agree_on_it_if_anyone_has_it() -> None:
    """1 - (1 - p)^n, p = .36: .74 with 3 agents, after one round."""
    expected, n, right, spent = 1 - (1 - WORLD.p_right) ** 3, 150, 0, 0
    for seed in range(n):
        found, trial = await solve(
            Debate(), WORLD, task=WORLD.task(seed=seed), generator=reader(WORLD, knowing(WORLD))
        )
        right += found.best.answer == WORLD.reference
        spent = max(spent, trial.run.budget.samples)
    assert abs(right / n - expected) < 4 * (expected * (1 - expected) / n) ** 0.5
    assert spent <= 9


async def test_agents_who_keep_to_their_answers_vote_as_without_a_debate() -> None:
    def own(chat: Chat) -> Any:
        said = [m["content"] for m in chat.messages if m["role"] == "assistant"]
        return says(said[-1]) if said else WORLD

    for seed in range(20):
        task = WORLD.task(seed=seed)
        debated, _ = await solve(
            Debate(agents=5), WORLD, task=task, generator=ScriptedGenerator(WORLD, talk=own)
        )
        first = [c.answer for c in debated.choices if len(c.candidate.prompt.chat.messages) == 1]
        assert debated.best.answer == max(sorted(set(first), key=first.index), key=first.count)


async def test_each_sees_its_own_answer_as_its_turn_and_the_others_as_advice() -> None:
    seen: list[Chat] = []

    def talk(chat: Chat) -> Any:
        seen.append(chat)
        return says(f"\\boxed{{{len(seen)}}}")

    found, trial = await solve(
        Debate(agents=3, rounds=2), WORLD, generator=ScriptedGenerator(WORLD, talk=talk)
    )
    told = [
        (m[1]["content"], answers_in(Chat(messages=m[2:]))) for m in (c.messages for c in seen) if len(m) == 3
    ]
    assert told == [
        ("\\boxed{1}", ["2", "3"]),
        ("\\boxed{2}", ["1", "3"]),
        ("\\boxed{3}", ["1", "2"]),
        ("\\boxed{4}", ["5", "6"]),
        ("\\boxed{5}", ["4", "6"]),
        ("\\boxed{6}", ["4", "5"]),
    ]
    assert len(seen) == trial.run.budget.samples == 9 == Debate(agents=3, rounds=2).cost().generations
    assert {c.answer for c in found.choices[:3]} == {"7", "8", "9"}, "the last round votes"
    rounds = [n for n in trial.run.trace.nodes if n.kind == "round"]
    assert [len(n.data.get("parents", ())) for n in rounds] == [0, 3, 3]


@pytest.mark.parametrize(
    ("said", "samples", "stopped", "best", "confidence"),
    [
        ("111", 3, "consensus", "1", 1.0),
        ("112" + "111", 6, "consensus", "1", 1.0),
        ("112" + "112" + "111", 9, "complete", "1", 1.0),
        ("123" + "122" + "221", 9, "complete", "2", 2 / 3),
    ],
)
async def test_it_ends_when_all_agree(
    said: str, samples: int, stopped: str, best: str, confidence: float
) -> None:
    engine = ScriptedGenerator(WORLD, talk=turns(*said))
    found, trial = await solve(Debate(agents=3, rounds=2), WORLD, generator=engine)
    assert (trial.run.budget.samples, trial.run.stopped) == (samples, stopped)
    assert found.best.answer == best
    assert found.confidence == pytest.approx(confidence)


async def test_who_says_nothing_readable_does_not_agree() -> None:
    replies = iter(["\\boxed{1}", "\\boxed{1}", "no idea"] + ["\\boxed{1}"] * 3)
    engine = ScriptedGenerator(lambda text, rng, sampling: next(replies))
    _, trial = await solve(Debate(agents=3, rounds=2), WORLD, generator=engine)
    assert trial.run.budget.samples == 6


async def test_several_models_debate_and_the_majority_wins() -> None:
    models = {
        "good": ScriptedGenerator(says("\\boxed{11}")),
        "also": ScriptedGenerator(says("\\boxed{11}")),
        "stubborn": ScriptedGenerator(says("\\boxed{99}")),
    }
    strategy = Debate.model_validate({"models": list(models), "agents": 3}, strict=True)
    found, trial = await solve(strategy, WORLD, models=models)
    assert (found.best.answer, found.best.votes) == ("11", 2.0)
    assert [m.calls for m in models.values()] == [3, 3, 3]
    assert trial.generator.calls == 0


async def test_strong_agents_bring_a_weak_one_round() -> None:
    weak, strong = World(depth=2, skill=0.3), World(depth=2, skill=0.97)
    right = 0
    for seed in range(30):
        models = {"strong": reader(strong, crowd), "weak": reader(weak, crowd)}
        strategy = Debate(agents=3, models=("strong", "weak"))
        found, _ = await solve(strategy, strong, task=strong.task(seed=seed), models=models)
        right += found.best.answer == strong.reference
    assert right >= 24


async def test_a_reply_cut_off_does_not_replace_a_complete_answer() -> None:
    replies = iter(["\\boxed{1}", "\\boxed{1}", "\\boxed{2}"] + ["well " * 100] * 6)
    engine = ScriptedGenerator(lambda text, rng, sampling: next(replies))
    found, _ = await solve(Debate(agents=3, rounds=2), WORLD, generator=engine)
    assert found.best.answer == "1"
    assert found.confidence == pytest.approx(2 / 3)


async def test_a_spent_budget_leaves_the_last_answers_there_are() -> None:
    engine = ScriptedGenerator(WORLD, talk=turns(*"1223"))
    found, trial = await solve(Debate(agents=3), WORLD, generator=engine, limits=Limits(samples=4))
    assert (trial.run.stopped, len(found.choices)) == ("samples", 4)
    assert {c.answer: c.votes for c in found.choices} == {"3": 1.0, "2": 2.0, "1": 0.0}


async def test_a_debate_that_outgrows_the_context_ends_with_what_was_said() -> None:
    engine = ScriptedGenerator(WORLD, context=120)
    found, trial = await solve(Debate(agents=4), WORLD, generator=engine)
    assert found.best.candidate.complete
    assert trial.run.budget.samples == 4
    assert "too_long" in {n.kind for n in trial.run.trace.nodes}


@pytest.mark.parametrize(
    "fields",
    [{"agents": 1}, {"rounds": 0}, {"agents": 2, "models": ["a", "b", "c"]}, {"prompt": "Think again."}],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Debate.model_validate(fields, strict=True)
