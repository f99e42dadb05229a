"""Labels of steps: exact, by continuations, and by binary search, in scripted worlds."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mull.training.bundled.corruption import corrupt
from mull.training.bundled.problems import generate_one, to_row
from mull.training.data.labels import (
    Solution,
    Start,
    binary_search,
    exact,
    first_error,
    is_bundled,
    monte_carlo,
    steps_of,
)
from mull.training.data.rows import Message, Problem
from mull.training.errors import TrainingError


def solution(*steps: str, right: bool = False, question: str = "?") -> Solution:
    prompt = [Message(role="user", content=question)]
    return Solution(prompt=prompt, reference="1", steps=steps, right=right)


class World:
    """An answer can still become right until a step says `bad`; `rate` of the continuations then do."""

    def __init__(self, rate: float = 1.0) -> None:
        self.rate = rate
        self.asked: list[Start] = []
        self.calls = 0

    def __call__(self, starts: Sequence[Start], n: int) -> list[list[bool]]:
        self.calls += 1
        self.asked += starts
        good = round(self.rate * n)
        return [[i < good and "bad" not in prefix for i in range(n)] for _, prefix, _ in starts]


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_binary_search_finds_the_first_error_of_a_monotone_world(length: int, data: st.DataObject) -> None:
    error = data.draw(st.integers(0, length - 1))
    world = World()
    steps = ["bad\n" if n == error else f"{n}\n" for n in range(length)]
    found = binary_search([solution(*steps)], world, k=2)
    assert found.labels == [[1.0] * error + [0.0] * (length - error)]
    assert found.prefixes == len(world.asked) <= math.ceil(math.log2(length))
    assert found.rollouts == 2 * found.prefixes


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=1, max_size=6))
def test_both_searches_agree_and_halving_is_cheaper(shapes: list[tuple[int, int]]) -> None:
    solutions = [
        solution(
            *(f"bad {n}\n" if n == error else f"{n}\n" for n in range(length)),
            right=error >= length,
            question=str(number),
        )
        for number, (length, error) in enumerate(shapes)
    ]
    halved = binary_search(solutions, World(), k=3)
    every = monte_carlo(solutions, World(), k=3, soft=False)
    assert halved.labels == every.labels
    assert halved.rollouts <= every.rollouts


def test_searches_of_many_answers_share_their_batches() -> None:
    world = World()
    binary_search([solution(*"abcdefgh", question=str(n)) for n in range(20)], world, k=1)
    assert world.calls == 3


def test_right_answers_cost_binary_search_nothing() -> None:
    world = World()
    found = binary_search([solution("a\n", "b\n", right=True)], world, k=4)
    assert found.labels == [[1.0, 1.0]]
    assert (found.rollouts, world.calls) == (0, 0)


def test_monte_carlo_labels_are_shares_and_the_last_is_the_answer() -> None:
    steps = ("a\n", "bad\n", "c")
    assert monte_carlo([solution(*steps)], World(0.25), k=8, soft=True).labels == [[0.25, 0.0, 0.0]]
    assert monte_carlo([solution(*steps)], World(0.25), k=8, soft=False).labels == [[1.0, 0.0, 0.0]]
    assert monte_carlo([solution("a\n", "b", right=True)], World(0.5), k=2, soft=True).labels == [[0.5, 1.0]]


def test_a_shared_prefix_is_continued_once() -> None:
    world = World()
    found = monte_carlo([solution("a\n", "b\n", "c"), solution("a\n", "d\n", "e")], world, k=5, soft=True)
    assert [prefix for _, prefix, _ in world.asked] == ["a\n", "a\nb\n", "a\nd\n"]
    assert (found.prefixes, found.rollouts) == (3, 15)


def test_prefixes_of_right_answers_are_good_without_asking() -> None:
    right = solution("a\n", "b\n", "c", right=True)
    wrong = solution("a\n", "b\n", "bad\n", "d")
    hard = World(0)
    found = monte_carlo([right, wrong], hard, k=2, soft=False)
    assert found.labels == [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]
    assert [prefix for _, prefix, _ in hard.asked] == ["a\nb\nbad\n"]
    halved = World(0)
    assert binary_search([right, wrong], halved, k=2).labels == found.labels
    assert [prefix for _, prefix, _ in halved.asked] == ["a\nb\nbad\n"]
    assert monte_carlo([right], World(0), k=2, soft=True).labels == [[0.0, 0.0, 1.0]]


def test_the_same_prefix_of_another_prompt_is_another_prefix() -> None:
    world = World()
    monte_carlo([solution("a\n", "b"), solution("a\n", "b", question="!")], world, k=1, soft=True)
    assert len(world.asked) == 2


def test_an_answer_of_one_step_needs_no_continuation() -> None:
    world = World()
    assert monte_carlo([solution("a", right=True)], world, k=2, soft=True).labels == [[1.0]]
    assert binary_search([solution("a")], world, k=2).labels == [[0.0]]
    assert world.calls == 0


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_exact_labels_are_those_of_the_checker(index: int) -> None:
    made = generate_one(3, index)
    problem = Problem.model_validate(to_row(made))
    lines = ["".join(line) for line in corrupt(made, random.Random(index))]
    labels = exact(problem, steps_of("".join(lines).removesuffix("<eos>")))
    assert len(labels) == len(lines)
    assert labels == sorted(labels, reverse=True)
    right = [step + "\n" for step in to_row(made)["steps"]]
    assert all(exact(problem, right))


@pytest.mark.parametrize(
    "change",
    [{"index": 8}, {"seed": None}, {"prompt": [{"role": "user", "content": "What is 2 + 2?"}]}],
)
def test_other_problems_have_no_exact_labels(change: dict[str, object]) -> None:
    problem = Problem.model_validate({**to_row(generate_one(3, 7)), **change})
    assert not is_bundled(problem)
    with pytest.raises(TrainingError, match=r"bundled task only.*monte_carlo"):
        exact(problem, ["a\n"])


def test_steps_keep_their_delimiters() -> None:
    assert steps_of("a\n\nb\nc") == ("a\n\n", "b\n", "c")
    assert steps_of(" \n") == ()


def test_first_error_is_the_first_label_below_the_threshold() -> None:
    assert first_error([0.9, 0.4, 0.8]) == 1
    assert first_error([0.9, 0.4, 0.8], 0.3) is None
    assert first_error([]) is None
