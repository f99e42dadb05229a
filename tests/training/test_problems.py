"""The generator, the solver and the checker agree with each other."""

import random

import pytest

from mull.training.bundled.checker import END, check_lines, check_pieces, is_right
from mull.training.bundled.corruption import corrupt
from mull.training.bundled.pieces import split
from mull.training.bundled.problems import Problem, Quantity, generate, generate_one, to_row
from mull.training.bundled.solver import answer_line, solve

QUESTION = (
    "Ada owns 7 eggs. Ben has 3 more than Ada. Cleo trails Ben by 2. How many do Ben and Cleo have together?"
)


@pytest.fixture
def problem() -> Problem:
    quantities = (
        Quantity("Ada", "base", (), 7, 7, "{a} owns {n} {i}"),
        Quantity("Ben", "more", (0,), 3, 10, "{a} has {n} more than {b}"),
        Quantity("Cleo", "fewer", (1,), 2, 8, "{a} trails {b} by {n}"),
        Quantity("Total", "sum", (1, 2), 0, 18, "Total of {b}"),
        Quantity("Dan", "times", (0,), 2, 14, "{a} has twice as many as {b}"),
    )
    return Problem(QUESTION, quantities, 3, frozenset({0, 1, 2, 3}), 0, 0)


def test_a_problem_depends_on_seed_and_index_only() -> None:
    assert list(generate(5, 20))[7] == generate_one(5, 7)
    assert next(iter(generate(5, 3, start=7))) == generate_one(5, 7)
    assert generate_one(5, 7) != generate_one(6, 7)


def test_problems_keep_to_the_asked_range() -> None:
    for problem in generate(1, 300, min_steps=3, max_steps=6):
        assert 3 <= problem.n_steps <= 6
        assert all(1 <= q.value <= 99 for q in problem.quantities)
        assert problem.target in problem.needed


def test_every_length_occurs() -> None:
    assert {p.n_steps for p in generate(2, 200)} == set(range(2, 11))


@pytest.mark.parametrize("index", range(100))
def test_every_solution_passes_the_checker(index: int) -> None:
    problem = generate_one(11, index)
    lines = solve(problem, random.Random(index))
    assert all(check_lines(problem, ["".join(line) for line in lines]))
    assert all(check_pieces(problem, [*(piece for line in lines for piece in line), END]))
    assert is_right(problem, "".join(piece for line in lines for piece in line))


def test_solutions_are_diverse() -> None:
    problem = generate_one(11, 3, 6, 6)
    assert len({tuple(solve(problem, random.Random(n))) for n in range(16)}) > 4


BEN, CLEO = "Ben has 3 more than Ada 7 = 10", "Cleo trails Ben 10 by 2 = 8"
TOTAL, ANSWER = "Total of Ben 10 and Cleo 8 = 18", r"The answer is \boxed{18}."


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ([BEN, CLEO, TOTAL, ANSWER], [True] * 4),
        ([BEN + "\n", CLEO + "\n", "Total of Cleo 8 and Ben 10 = 18\n", ANSWER], [True] * 4),
        (["Dan has twice as many as Ada 7 = 14", BEN], [True, True]),
        (["Ben has 3 more than Ada 7 = 11", CLEO], [False, False]),
        (["Ben has 3 fewer than Ada 7 = 4"], [False]),
        (["Ben has 3 more than Ada 6 = 9"], [False]),
        (["Ben has 3 more than Dan 7 = 10"], [False]),
        ([CLEO], [False]),
        ([BEN, BEN], [True, False]),
        ([ANSWER], [False]),
        ([BEN, CLEO, ANSWER], [True, True, False]),
        ([BEN, CLEO, TOTAL, r"The answer is \boxed{8}."], [True, True, True, False]),
        ([BEN, CLEO, TOTAL, ANSWER, ANSWER], [True, True, True, True, False]),
        (["Zoe has 3 more than Ada 7 = 10"], [False]),
        (["hello", ""], [False, False]),
    ],
)
def test_the_checker_finds_the_first_error(problem: Problem, lines: list[str], verdict: list[bool]) -> None:
    assert check_lines(problem, lines) == verdict


def test_pieces_go_wrong_where_no_correct_line_is_left(problem: Problem) -> None:
    pieces = [*split("Ben has 3 more than Ada 7 = 11\n"), "Cleo"]
    assert check_pieces(problem, pieces) == [True] * 7 + [False] * 3
    assert check_pieces(problem, list(split("Ben has 4"))) == [True, True, False]
    assert check_pieces(problem, list(answer_line(18))) == [False] * 4


def test_corruptions_are_mostly_wrong() -> None:
    rng = random.Random(0)
    verdicts = []
    for problem in generate(3, 200):
        lines = corrupt(problem, rng)
        by_line = check_lines(problem, ["".join(line) for line in lines])
        by_piece = check_pieces(problem, [piece for line in lines for piece in line])
        ends = [sum(map(len, lines[: n + 1])) - 1 for n in range(len(lines))]
        assert [by_piece[end] for end in ends] == by_line
        verdicts.append(all(by_line))
    assert sum(verdicts) < 0.15 * len(verdicts)


def test_rows_hold_a_reference_solution() -> None:
    problem = generate_one(4, 2)
    row = to_row(problem)
    assert row["answer"] == str(problem.answer)
    assert row["id"] == "4-2"
    assert row["steps"][-1] == rf"The answer is \boxed{{{problem.answer}}}."
    assert check_lines(problem, row["steps"]) == [True] * len(row["steps"])


@pytest.mark.parametrize("text", ["", "no box", r"\boxed{9}", r"\boxed{18} then \boxed{9}", "18"])
def test_a_wrong_or_missing_box_is_not_right(problem: Problem, text: str) -> None:
    assert not is_right(problem, text)


def test_the_last_box_counts(problem: Problem) -> None:
    assert is_right(problem, r"\boxed{9} no, \boxed{18}.")
