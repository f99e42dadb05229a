"""Best-first search: the order of expansion, when it ends, what it returns then."""

from __future__ import annotations

from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.best_first import BestFirst

from .searching import depths, search, texts


def order(trial: Any) -> list[str]:
    """The texts of the nodes in the order in which they were expanded."""
    nodes = trial.run.trace.nodes
    return [nodes[i].text for i in dict.fromkeys(n.parent for n in nodes[1:]) if i]


PATHS = [f"{a}\n{b}\n\\boxed{{{a}{b}}}" for a in "ab" for b in "xy"]


async def test_it_goes_back_to_what_has_become_the_best() -> None:
    rates = {"a": 0.9, "b": 0.7, "x": 0.2, "y": 0.3, "\\boxed{bx}": 0.1}
    _, trial = await search(BestFirst(branch=2, batch=1, expansions=3), PATHS, rates)
    assert order(trial)[:2] == ["a\n", "b\n"]


async def test_of_equal_scores_the_longer_then_the_earlier_comes_first() -> None:
    """The useless verifier of this test would otherwise have it search breadth first for ever."""
    answer, trial = await search(BestFirst(branch=2, batch=1), PATHS, {})
    assert order(trial) == ["a\n", "x\n"]
    assert answer.best.answer == "ax"


async def test_it_ends_as_soon_as_nothing_can_overtake() -> None:
    paths = ["good \\boxed{1}", "a\nb\nc\n\\boxed{2}"]
    rates = {"good \\boxed{1}": 0.8, "a": 0.7}
    answer, trial = await search(BestFirst(branch=2), paths, rates)
    assert (answer.best.answer, max(depths(trial))) == ("1", 1)
    answer, trial = await search(BestFirst(branch=2, aggregate="last"), paths, rates)
    assert max(depths(trial)) == 4, "a later step may raise the score of the last one"
    answer, trial = await search(BestFirst(branch=2), paths, {**rates, "a": 0.9, "b": 0.9})
    assert max(depths(trial)) == 3, "c is worth .5, so it is not gone on with"


async def test_as_many_answers_as_the_request_asks_for_are_settled() -> None:
    answer, _ = await search(BestFirst(branch=2, batch=1), PATHS, {"b": 0.4}, n=3)
    assert len({c.answer for c in answer.choices}) >= 3


async def test_a_batch_is_expanded_at_once_in_one_call_each() -> None:
    _, trial = await search(BestFirst(branch=2, batch=2, expansions=3), PATHS, {})
    assert trial.generator.calls == 3 + 1
    assert order(trial)[:2] == ["a\n", "b\n"]


async def test_without_a_finished_answer_the_best_partial_one_is_finished() -> None:
    rates = {"a": 0.6, "b": 0.9}
    answer, trial = await search(BestFirst(branch=2, expansions=1), PATHS, rates)
    assert answer.best.answer == "bx"
    assert [n.text for n in trial.run.trace.nodes if n.kind == "rollout"] == ["x\n\\boxed{bx}"]
    assert trial.run.budget.samples == BestFirst(branch=2, expansions=1).cost().generations


async def test_depth_counts_steps() -> None:
    answer, trial = await search(BestFirst(branch=2, depth=2), PATHS, {})
    assert max(depths(trial)) == 3
    assert answer.best.candidate.complete
    assert len([n for n in trial.run.trace.nodes if n.kind == "rollout"]) == 1


async def test_equal_steps_are_merged() -> None:
    answer, trial = await search(BestFirst(branch=4), ["a\n\\boxed{1}"], {})
    assert texts(trial, merged=True) == ["a\n"] * 3 + ["\\boxed{1}"] * 3
    assert len(answer.choices) == 1


@pytest.mark.parametrize("samples", [3, 5])
async def test_a_spent_budget_returns_the_best_so_far(samples: int) -> None:
    answer, trial = await search(
        BestFirst(branch=2, batch=2), PATHS, {"b": 0.9}, limits=Limits(samples=samples)
    )
    assert trial.run.stopped == "samples"
    assert answer.best.candidate.text.startswith("b\n")
    assert not answer.best.candidate.complete
