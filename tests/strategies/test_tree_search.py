"""Breadth-first and depth-first search: order, pruning, backtracking."""

from __future__ import annotations

from typing import Any

from mull.budget import Limits
from mull.strategies.tree_search import BreadthFirst, DepthFirst

from .searching import depths, search, texts

PATHS = [f"{a}\n{b}\n\\boxed{{{a}{b}}}" for a in "abc" for b in "xy"]


def order(trial: Any) -> list[str]:
    """The texts of the nodes in the order in which they were expanded."""
    nodes = trial.run.trace.nodes
    return [nodes[i].text for i in dict.fromkeys(n.parent for n in nodes[1:]) if i]


# -- breadth first -----------------------------------------------------------------------------------------


async def test_bfs_keeps_the_best_of_a_level_that_reach_the_threshold() -> None:
    rates = {"a": 0.6, "b": 0.9, "c": 0.7}
    _, trial = await search(BreadthFirst(width=2, branch=3), PATHS, rates)
    assert (order(trial)[:2], texts(trial, pruned=True)[0]) == (["b\n", "c\n"], "a\n")
    _, trial = await search(BreadthFirst(width=2, branch=3, threshold=0.8), PATHS, rates | {"x": 0.9})
    assert order(trial)[0] == "b\n"
    assert {"a\n", "c\n"} <= set(texts(trial, pruned=True))


async def test_bfs_lets_finished_answers_take_no_place() -> None:
    paths = ["short \\boxed{1}", "a\n\\boxed{2}"]
    rates = {"short \\boxed{1}": 0.8, "a": 0.9, "\\boxed{2}": 0.6}
    answer, trial = await search(BreadthFirst(width=1, branch=2), paths, rates)
    assert [c.answer for c in answer.choices] == ["1", "2"]
    assert max(depths(trial)) == 2


async def test_bfs_ends_when_nothing_can_overtake() -> None:
    paths = ["short \\boxed{1}", "a\nb\n\\boxed{2}"]
    answer, trial = await search(BreadthFirst(branch=2), paths, {"short \\boxed{1}": 0.8, "a": 0.7})
    assert (answer.best.answer, max(depths(trial))) == ("1", 1)


async def test_bfs_finishes_the_best_where_all_is_pruned() -> None:
    answer, trial = await search(BreadthFirst(branch=3), PATHS, {"a": 0.1, "b": 0.3, "c": 0.2})
    assert answer.best.answer == "bx"
    assert texts(trial, pruned=True) == ["a\n", "b\n", "c\n"]
    assert [n.kind for n in trial.run.trace.nodes].count("rollout") == 1


async def test_bfs_costs_at_most_width_times_branch_a_level() -> None:
    _, trial = await search(BreadthFirst(width=2, branch=2), PATHS, {})
    assert [depths(trial).count(level) for level in (1, 2, 3)] == [2, 4, 4]


# -- depth first -------------------------------------------------------------------------------------------


async def test_dfs_follows_the_best_step_and_stops_at_the_first_good_answer() -> None:
    answer, trial = await search(DepthFirst(branch=3), PATHS, {"a": 0.6, "b": 0.9, "c": 0.7, "y": 0.8})
    assert order(trial) == ["b\n", "y\n"]
    assert answer.best.answer == "by"
    assert trial.generator.calls == 3


async def test_dfs_goes_back_where_all_that_follows_is_pruned() -> None:
    rates = {"a": 0.6, "b": 0.9, "c": 0.7, "x": 0.2, "y": 0.2}
    paths = [p for p in PATHS if p[0] != "c"] + ["c\nz\n\\boxed{cz}"]
    answer, trial = await search(DepthFirst(branch=3), paths, rates)
    assert order(trial) == ["b\n", "c\n", "z\n"]
    assert answer.best.answer == "cz"
    assert texts(trial, pruned=True) == ["a\n", "x\n", "y\n"], "a is not among the two best of three"


async def test_dfs_goes_back_from_an_answer_below_the_threshold() -> None:
    rates = {"a": 0.9, "b": 0.8, "\\boxed{ax}": 0.1, "\\boxed{ay}": 0.2}
    answer, trial = await search(DepthFirst(branch=3), PATHS, rates)
    assert order(trial) == ["a\n", "x\n", "y\n", "b\n", "x\n"]
    assert [c.answer for c in answer.choices] == ["bx", "ay", "ax"]


async def test_dfs_goes_on_until_it_has_as_many_answers_as_asked_for() -> None:
    answer, _ = await search(DepthFirst(branch=3), PATHS, {}, n=3)
    assert [c.answer for c in answer.choices] == ["ax", "ay", "bx"]


async def test_dfs_ends_with_its_expansions() -> None:
    answer, trial = await search(DepthFirst(branch=3, expansions=2), PATHS, {"b": 0.9})
    assert order(trial) == ["b\n", "x\n"], "the last one is no expansion: it finishes the answer"
    assert answer.best.answer == "bx"
    assert trial.run.budget.samples == DepthFirst(branch=3, expansions=2).cost().generations


async def test_dfs_depth_counts_steps() -> None:
    answer, trial = await search(DepthFirst(branch=2, depth=2), PATHS, {})
    kinds = [n.kind for n in trial.run.trace.nodes]
    assert kinds.count("rollout") == 1
    assert max(depths(trial)) == 3
    assert answer.best.candidate.complete


async def test_a_spent_budget_returns_the_best_so_far() -> None:
    for strategy in (BreadthFirst(branch=3), DepthFirst(branch=3)):
        answer, trial = await search(strategy, PATHS, {"b": 0.9}, limits=Limits(samples=4))
        assert trial.run.stopped == "samples"
        assert answer.best.candidate.text.startswith("b\n")
