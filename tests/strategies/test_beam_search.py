"""Beam search: where it looks, when it stops, what it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import Unsupported
from mull.strategies.beam_search import BeamSearch
from mull.testing import ScriptedGenerator, ScriptedVerifier, Trial, World, solve
from mull.types import Answer

from .searching import depths, search

WORLD = World()
CONSTANT = ScriptedVerifier.constant()


async def along(paths: Sequence[str], rates: dict[str, float], **fields: Any) -> tuple[Answer, Trial]:
    """Beam search among these answers."""
    options = {key: fields.pop(key) for key in ("max_tokens", "limits") if key in fields}
    return await search(BeamSearch(**fields), paths, rates, **options)


async def test_a_perfect_verifier_finds_the_optimum_far_more_often_than_sampling() -> None:
    world = World(depth=6, branches=3, skill=0.4)
    assert world.p_right < 0.005
    for seed in range(20):
        verifier = ScriptedVerifier.perfect(world)
        answer, _ = await solve(
            BeamSearch(width=2, expand=12), world, task=world.task(seed=seed), verifier=verifier
        )
        assert answer.best.answer == world.reference
        assert answer.confidence == 1.0


async def test_a_useless_verifier_does_no_harm() -> None:
    """Steered by nothing, it is right as often as one sample: p = .36, 4 sigma."""
    world, n = World(depth=2, skill=0.6), 120
    found = [
        (await solve(BeamSearch(width=2, expand=2), world, task=world.task(seed=s), verifier=CONSTANT))[0]
        for s in range(n)
    ]
    share = sum(a.best.answer == world.reference for a in found) / n
    assert abs(share - world.p_right) < 4 * (world.p_right * (1 - world.p_right) / n) ** 0.5


async def test_one_beam_of_one_is_plain_sampling() -> None:
    answer, trial = await solve(BeamSearch(width=1, expand=1), WORLD)
    assert len(trial.run.trace.nodes) == 1 + WORLD.depth + 1
    assert answer.best.candidate.complete


@pytest.mark.parametrize(("width", "expand"), [(1, 4), (2, 3), (4, 1)])
async def test_a_level_costs_at_most_width_times_expand(width: int, expand: int) -> None:
    world = World(depth=5, branches=6, skill=0.2)
    _, trial = await solve(BeamSearch(width=width, expand=expand), world)
    levels = Counter(depths(trial))
    assert levels[1] == width * expand
    assert all(count <= width * expand for level, count in levels.items() if level)
    assert max(levels) <= world.depth + 1


async def test_the_best_steps_survive_and_the_rest_is_marked() -> None:
    paths = [f"{a}\n{b}\n\\boxed{{{a}{b}}}" for a in "123" for b in "12"]
    answer, trial = await along(paths, {"1": 0.2, "2": 0.9, "3": 0.6}, width=2, expand=3, aggregate="last")
    first = {n.text.strip(): n.data for n in trial.run.trace.nodes if n.parent == 0 and n.score is not None}
    assert first == {"1": {"pruned": True}, "2": {}, "3": {}}
    assert answer.best.answer == "22"


async def test_finished_answers_are_kept_and_never_continued() -> None:
    paths = ["short \\boxed{1}", "a\nb\nc\n\\boxed{2}"]
    rates = {"short \\boxed{1}": 0.6, "a": 0.9, "b": 0.9, "c": 0.9, "\\boxed{2}": 0.3}
    answer, trial = await along(paths, rates, width=1, expand=2, aggregate="last")
    assert [c.answer for c in answer.choices] == ["1", "2"], "found at level 1, out of the beam since"
    complete = {n.id for n in trial.run.trace.nodes if n.finish == "stop"}
    assert not complete & {n.parent for n in trial.run.trace.nodes}


async def test_it_stops_as_soon_as_no_beam_can_overtake() -> None:
    paths = ["good \\boxed{1}", "a\nb\nc\nd\n\\boxed{2}"]
    rates = {"good \\boxed{1}": 0.8, "a": 0.7}
    answer, trial = await along(paths, rates, width=2, expand=2)
    assert answer.best.answer == "1"
    assert max(depths(trial)) == 1
    answer, trial = await along(paths, rates, width=2, expand=2, aggregate="last")
    assert max(depths(trial)) == 5, "a later step may raise the score of the last one"


@pytest.mark.parametrize(("depth", "answer"), [(3, None), (4, "111"), (5, "111")])
async def test_depth_counts_steps_exactly(depth: int, answer: str | None) -> None:
    paths = ["take 1\ntake 1\ntake 1\n\\boxed{111}"]
    found, trial = await along(paths, {}, width=1, expand=2, depth=depth)
    assert found.best.answer == answer
    assert max(depths(trial)) == min(depth, 4)
    assert found.best.candidate.complete == (answer is not None)


async def test_an_answer_cut_off_by_max_tokens_ranks_last() -> None:
    paths = ["x\n" * 40, "a\n\\boxed{1}"]
    answer, _ = await along(paths, {"x": 0.9, "a": 0.2, "\\boxed{1}": 0.2}, width=2, expand=2, max_tokens=20)
    assert (answer.best.answer, answer.choices[-1].candidate.finish) == ("1", "length")


async def test_equal_continuations_are_merged() -> None:
    answer, trial = await along(["a\nb\n\\boxed{1}"], {}, width=3, expand=4)
    assert trial.run.verifier_calls == 3
    assert sum(n.score is not None for n in trial.run.trace.nodes) == 3
    assert len(answer.choices) == 1


async def test_beams_far_below_the_best_are_dropped() -> None:
    paths = [f"{a}\n\\boxed{{{a}}}" for a in "12"]
    rates = {"1": 0.9, "2": 0.3}
    _, trial = await along(paths, rates, width=2, expand=2, prune=0.5)
    assert [n.text for n in trial.run.trace.nodes if n.data.get("pruned")] == ["2\n"]
    _, trial = await along(paths, rates, width=2, expand=2, prune=0.3)
    assert not any(n.data.get("pruned") for n in trial.run.trace.nodes)


async def test_the_delimiter_is_configurable() -> None:
    paths = ["one. two. \\boxed{3}"]
    _, trial = await along(paths, {}, width=1, expand=1, delimiter=". ")
    assert [n.text for n in trial.run.trace.nodes[1:]] == ["one. ", "two. ", "\\boxed{3}"]


async def test_a_trailing_empty_step_ends_the_answer() -> None:
    answer, trial = await along(["a\n\\boxed{1}\n"], {}, width=1, expand=1)
    assert answer.best.candidate.complete
    assert answer.best.answer == "1"
    assert trial.run.trace.nodes[-1].text == ""


async def test_a_spent_budget_returns_the_best_finished_answer() -> None:
    paths = ["quick \\boxed{1}", "a\nb\nc\nd\n\\boxed{2}"]
    rates = {"quick \\boxed{1}": 0.1}
    answer, trial = await along(paths, rates, width=2, expand=2, aggregate="last", limits=Limits(samples=6))
    assert (answer.best.answer, trial.run.stopped) == ("1", "samples")
    assert answer.choices[-1].answer is None


async def test_a_spent_budget_without_a_finished_answer_returns_the_best_beam() -> None:
    answer, trial = await along(["a\nb\n\\boxed{2}"], {}, width=2, expand=2, limits=Limits(samples=4))
    assert (answer.best.candidate.text, answer.best.answer, trial.run.stopped) == ("a\n", None, "samples")


async def test_an_engine_that_cannot_continue_is_refused() -> None:
    with pytest.raises(Unsupported, match="cannot continue"):
        await solve(BeamSearch(), WORLD, generator=ScriptedGenerator(WORLD, continues=False))


# -- lookahead and long steps ------------------------------------------------------------------------------


TRAP = ["trap\nbad\n\\boxed{1}", "plain\ngood\n\\boxed{2}"]
LATE = {"trap": 0.9, "plain": 0.6, "bad": 0.1, "good": 0.9}


@pytest.mark.parametrize(("lookahead", "answer"), [(0, "1"), (1, "2"), (2, "2"), (30, "2")])
async def test_lookahead_sees_what_a_step_leads_to(lookahead: int, answer: str) -> None:
    found, trial = await along(TRAP, LATE, width=1, expand=2, lookahead=lookahead)
    assert found.best.answer == answer
    assert len(found.choices) == 1, "rollouts are no answers"
    seen = {n.text: n.data.get("foreseen") for n in trial.run.trace.nodes if n.parent == 0}
    assert seen["trap\n"] == (0.1 if lookahead else None)


async def test_lookahead_is_greedy_billed_and_stops_at_the_end_of_an_answer() -> None:
    _, trial = await along(TRAP, LATE, width=1, expand=2, lookahead=9)
    rolled = [n for n in trial.run.trace.nodes if n.kind == "lookahead"]
    assert [n.text for n in rolled].count("\\boxed{1}") == 1
    greedy = [s for s in trial.generator.seen if s.temperature == 0]
    assert len(greedy) == len(rolled)
    assert sum(n.tokens for n in trial.run.trace.nodes) == trial.run.budget.tokens


async def test_a_long_step_counts_as_several_and_reserves_no_more() -> None:
    paths = ["take 1\ntake 1\n\\boxed{11}"]
    found, trial = await along(paths, {}, width=1, expand=1, step_tokens=5)
    assert [n.text for n in trial.run.trace.nodes[1:]] == [
        "take ",
        "1\n",
        "take ",
        "1\n",
        "\\boxe",
        "d{11}",
        "",
    ]
    assert found.best.answer == "11"
    assert all((s.max_tokens or 0) <= 5 for s in trial.generator.seen)
    cut, _ = await along(paths, {}, width=1, expand=1, step_tokens=5, depth=3)
    assert (cut.best.answer, cut.best.candidate.text) == (None, "take 1\ntake ")


@pytest.mark.parametrize(
    "fields",
    [
        {"lookahead": -1},
        {"step_tokens": 0},
        {"width": 0},
        {"expand": 0},
        {"depth": 0},
        {"delimiter": ""},
        {"aggregate": "median"},
        {"prune": 2},
        {"beams": 3},
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        BeamSearch.model_validate(fields)
