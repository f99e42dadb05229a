"""Monte Carlo tree search: what a simulation costs, where values come from, how an answer is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.base import Needs
from mull.strategies.mcts import MCTS
from mull.testing import ScriptedGenerator, ScriptedVerifier, Trial, World, solve
from mull.types import Candidate, Score, Task, VerifierKind

from .searching import depths, search, texts
from .test_step_search import DEEP, EXHAUSTIVE

PATHS = [f"{a}\n{b}\n\\boxed{{{a}{b}}}" for a in "abc" for b in "xy"]


def families(trial: Trial) -> dict[int, int]:
    """How many steps were sampled from each node."""
    return Counter(n.parent or 0 for n in trial.run.trace.nodes[1:] if n.kind == "step")


# -- what the issue asks for -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"final": "visits"},
        {"final": "value"},
        {"final": "vote"},
        {"final": "score", "aggregate": "last"},
        {"final": "visits", "rule": "uct"},
        {"final": "value", "prior": "process"},
    ],
    ids=str,
)
async def test_a_perfect_value_finds_the_best_at_a_tenth_of_the_exhaustive_cost(
    fields: dict[str, Any],
) -> None:
    found, strategy = 0, MCTS.model_validate({"simulations": 15, "branch": 12, "parallel": 2} | fields)
    for seed in range(20):
        verifier = ScriptedVerifier.perfect(DEEP)
        answer, trial = await solve(strategy, DEEP, task=DEEP.task(seed=seed), verifier=verifier)
        found += answer.best.answer == DEEP.reference
        assert trial.run.budget.samples <= EXHAUSTIVE / 10
    assert found >= 18


async def test_simulations_in_parallel_lose_no_accuracy() -> None:
    """As many simulations one by one and four at a time, with a verifier that errs: 4 sigma."""
    world, n = World(depth=4, branches=3, skill=0.45), 80
    right = {}
    for parallel in (1, 4):
        strategy = MCTS(simulations=32, branch=6, parallel=parallel)
        right[parallel] = 0
        for seed in range(n):
            verifier = ScriptedVerifier.noisy(world, noise=0.6, seed=seed)
            answer, _ = await solve(strategy, world, task=world.task(seed=seed), verifier=verifier)
            right[parallel] += answer.best.answer == world.reference
    p = right[1] / n
    assert p > 0.6 > 10 * world.p_right
    assert right[4] / n > p - 4 * (2 * p * (1 - p) / n) ** 0.5


async def test_each_visited_node_is_expanded_in_one_call() -> None:
    world = World(depth=4, branches=4, skill=0.4)
    for parallel in (1, 4):
        strategy = MCTS(simulations=12, branch=5, parallel=parallel, final="vote")
        _, trial = await solve(strategy, world)
        sampled = families(trial)
        finishing = [n for n in trial.run.trace.nodes if n.kind == "rollout"]
        assert set(sampled.values()) == {5}
        assert trial.generator.calls == len(sampled) + len(finishing)
        assert 4 < len(sampled) <= 12


# -- the search --------------------------------------------------------------------------------------------


async def test_finished_answers_are_never_continued_and_an_exhausted_tree_ends_the_search() -> None:
    answer, trial = await search(MCTS(branch=6, final="vote", simulations=500), PATHS, {})
    assert len(answer.choices) == 6
    assert len(families(trial)) == 1 + 3 + 6
    complete = {n.id for n in trial.run.trace.nodes if n.finish == "stop"}
    assert not complete & {n.parent for n in trial.run.trace.nodes}
    assert trial.run.stopped == "complete"


async def test_equal_children_are_merged() -> None:
    answer, trial = await search(MCTS(branch=4), ["a\n\\boxed{1}"], {})
    assert texts(trial, merged=True) == ["a\n"] * 3 + ["\\boxed{1}"] * 3
    assert len(answer.choices) == 1


async def test_it_ends_when_nothing_can_overtake_only_if_the_score_decides() -> None:
    paths = ["good \\boxed{1}", *PATHS]
    rates = {"good \\boxed{1}": 0.8, "a": 0.7, "b": 0.7, "c": 0.7}
    for fields, deepest in (({}, 1), ({"final": "vote"}, 3), ({"aggregate": "mean"}, 3)):
        _, trial = await search(MCTS.model_validate({"branch": 4, **fields}), paths, rates)
        assert max(depths(trial)) == deepest


async def test_parallel_simulations_expand_different_leaves_at_once() -> None:
    verifier_calls = {}
    for parallel in (1, 3):
        strategy = MCTS(simulations=4, branch=6, parallel=parallel, final="vote")
        _, trial = await search(strategy, PATHS, {"a": 0.9, "b": 0.9, "c": 0.9})
        verifier_calls[parallel] = trial.run.verifier_calls
        assert len(families(trial)) == 4
    # After the root, one by one or three together; then one answer is finished where there is none.
    assert verifier_calls[3] == verifier_calls[1] - 2


async def test_the_trace_tells_visits_and_values() -> None:
    _, trial = await search(MCTS(simulations=3, branch=6, parallel=1, final="vote"), PATHS, {"b": 0.9})
    root = trial.run.trace.nodes[0].data
    assert root["visits"] == 3
    assert root["value"] == pytest.approx((0.9 + 0.5 + 0.5) / 3, abs=1e-4)


async def test_what_cannot_be_continued_is_worth_nothing() -> None:
    """The verifier loves the step that runs into the limit."""
    paths = ["x\n" * 40, "a\nb\n\\boxed{1}"]
    answer, _ = await search(
        MCTS(simulations=9, branch=2, parallel=1, final="value", aggregate="last"),
        paths,
        {"x": 0.9, "a": 0.6, "b": 0.6, "\\boxed{1}": 0.6},
        max_tokens=14,
    )
    assert answer.best.answer == "1"


async def test_depth_counts_steps() -> None:
    answer, trial = await search(MCTS(branch=6, depth=2, final="vote"), PATHS, {})
    grown = [d for d, n in zip(depths(trial), trial.run.trace.nodes, strict=True) if n.kind == "step"]
    assert max(grown) == 2
    assert answer.best.candidate.complete, "the best of the cut off ones is finished in one go"


async def test_without_a_finished_answer_the_best_partial_one_is_finished() -> None:
    strategy = MCTS(simulations=1, branch=3)
    answer, trial = await search(strategy, PATHS, {"b": 0.9})
    assert answer.best.answer == "bx"
    assert trial.run.budget.samples == strategy.cost().generations


async def test_a_spent_budget_returns_the_best_so_far() -> None:
    answer, trial = await search(MCTS(branch=3), PATHS, {"b": 0.9}, limits=Limits(samples=4))
    assert (answer.best.candidate.text, trial.run.stopped) == ("b\nx\n", "samples")


# -- values and priors -------------------------------------------------------------------------------------


class Outcome:
    """An outcome verifier that sees how whole answers end; what is not one is an error."""

    name = "outcome"
    kind: VerifierKind = "outcome"

    def __init__(self, good: str) -> None:
        self.good = good

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        assert all(c.complete for c in candidates)
        return [Score(value=0.9 if self.good in c.text else 0.1) for c in candidates]


async def test_rollouts_need_only_an_outcome_verifier_and_steer_the_search() -> None:
    world = World(depth=3, branches=3, skill=0.34)
    strategy = MCTS(simulations=12, branch=8, parallel=1, value="rollout", final="value")
    found = 0
    for seed in range(20):
        trial = Trial(
            strategy,
            world,
            task=world.task(seed=seed),
            generator=ScriptedGenerator(world),
            verifier=Outcome("take 2\ntake 2"),
        )
        answer = await trial.solve()
        found += "take 2\ntake 2" in answer.best.candidate.text
        rollouts = [n for n in trial.run.trace.nodes if n.kind == "rollout"]
        assert 0 < len(rollouts) <= 12
        assert {n.text for n in rollouts} & {c.candidate.steps[-1] for c in answer.choices}
    assert found >= 18


async def test_both_values_are_mixed() -> None:
    paths = ["a\nx\n\\boxed{1}"]
    rates = {"a": 0.8, "x": 0.4, "\\boxed{1}": 0.2}
    for mixing, value in ((0.0, 0.8), (0.25, 0.65), (1.0, 0.2)):
        strategy = MCTS(simulations=1, branch=2, value="both", mixing=mixing, aggregate="last")
        _, trial = await search(strategy, paths, rates)
        assert trial.run.trace.nodes[0].data["value"] == pytest.approx(value)


async def test_rollouts_cut_off_are_worth_nothing() -> None:
    strategy = MCTS(simulations=1, branch=2, value="rollout")
    answer, trial = await search(strategy, ["a\n" + "x" * 90], {}, max_tokens=20)
    assert trial.run.trace.nodes[0].data["value"] == 0.0
    assert answer.best.candidate.truncated


async def test_priors_come_from_the_logprobs_of_the_step() -> None:
    strategy = MCTS(simulations=1, branch=2, prior="logprob")
    sure = ScriptedGenerator(World(), sure=lambda text: 0.9 if text.startswith("take 2") else 0.5)
    trial = Trial(strategy, World(), generator=sure)
    await trial.solve()
    assert [s.logprobs for s in sure.seen] == [0, None], "the answer finished at the end needs none"


def test_priors_are_shares() -> None:
    from mull.strategies.mcts.search import Search
    from mull.types import Chat, Prompt, TokenLogprob

    prompt = Prompt(chat=Chat(messages=()))
    leaf = Candidate(prompt=prompt, logprobs=(TokenLogprob(token="z", id=1, logprob=-9.0),))

    def step(node: int, *logprobs: float) -> Candidate:
        own = tuple(TokenLogprob(token="t", id=2, logprob=p) for p in logprobs)
        return Candidate(prompt=prompt, node=node, logprobs=leaf.logprobs + own)

    family = [step(1, -0.5, -0.5), step(2, -2.0)]
    search = Search([leaf], scores={1: 0.2, 2: 0.6})
    likely = MCTS(prior="logprob")._priors(leaf, family, search)
    assert likely[0] / likely[1] == pytest.approx(2.718281828)
    assert MCTS(prior="process")._priors(leaf, family, search) == pytest.approx([0.25, 0.75])
    assert MCTS(prior="process")._priors(leaf, family, Search([leaf])) == [0.5, 0.5]
    assert MCTS()._priors(leaf, family, search) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("fields", "verifier"),
    [
        ({}, "process"),
        ({"value": "both"}, "process"),
        ({"value": "rollout"}, "outcome"),
        ({"value": "rollout", "prior": "process"}, "process"),
    ],
)
def test_needs_depend_on_the_value(fields: dict[str, Any], verifier: VerifierKind) -> None:
    assert MCTS.model_validate(fields).needs == Needs(verifier=verifier, continues=True)


# -- the final choice --------------------------------------------------------------------------------------


async def test_the_final_choice_is_by_score_vote_visits_or_value() -> None:
    """`c` ends in the best single answer; `1` has most votes; `b` is where most simulations go."""
    paths = [
        "a\n\\boxed{1}",
        "a\n so \\boxed{1}",
        "b\nx\n\\boxed{2}",
        "b\ny\n\\boxed{2.5}",
        "c\n\\boxed{3}",
    ]
    rates = {
        "a": 0.55,
        "\\boxed{1}": 0.6,
        "so \\boxed{1}": 0.6,
        "b": 0.9,
        "x": 0.8,
        "y": 0.8,
        "\\boxed{2}": 0.7,
        "\\boxed{2.5}": 0.1,
        "c": 0.5,
        "\\boxed{3}": 0.95,
    }
    chosen = {}
    for final in ("score", "vote", "visits", "value"):
        strategy = MCTS(simulations=30, branch=5, parallel=1, final=final, aggregate="last", exploration=0.3)
        answer, _ = await search(strategy, paths, rates)
        chosen[final] = answer.best.answer
        assert len({c.candidate.node for c in answer.choices}) == len(answer.choices) == 5
    assert chosen["score"] == "3"
    assert chosen["vote"] == "1"
    assert chosen["visits"] == "2"
    assert chosen["value"] == "3"
