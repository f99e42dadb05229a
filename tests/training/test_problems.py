"""The generator, the solver and the checker agree with each other."""

import random

import pytest

from mull.training.checker import END, check_lines, check_pieces, is_right
from mull.training.corruption import corrupt
from mull.training.problems import Problem, Quantity, generate, generate_one, to_row
from mull.training.solver import answer_line, solve

QUESTION = "Ada has 7 eggs. Ben has 3 more than Ada. Cleo has 2 fewer than Ben. How many does Cleo have?"


@pytest.fixture
def problem() -> Problem:
    quantities = (
        Quantity("Ada", "base", (), 7, 7),
        Quantity("Ben", "more", (0,), 3, 10),
        Quantity("Cleo", "fewer", (1,), 2, 8),
        Quantity("Dan", "times", (0,), 2, 14),
    )
    return Problem(QUESTION, quantities, 2, frozenset({0, 1, 2}), 0, 0)


def test_a_problem_depends_on_seed_and_index_only() -> None:
    assert list(generate(5, 20))[7] == generate_one(5, 7)
    assert list(generate(5, 3, start=7))[0] == generate_one(5, 7)
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


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        (["Ben: Ada 7 + 3 = 10", "Cleo: Ben 10 - 2 = 8", r"The answer is \boxed{8}."], [True, True, True]),
        (["Ben: 3 + Ada 7 = 10\n", "Cleo: Ben 10 - 2 = 8\n"], [True, True]),
        (["Cleo: Ada 7 + 3 - 2 = 8", r"The answer is \boxed{8}."], [True, True]),
        (["Dan: 2 * Ada 7 = 14", "Ben: Ada 7 + 3 = 10"], [True, True]),
        (["Ben: Ada 7 + 3 = 11", "Cleo: Ben 10 - 2 = 8"], [False, False]),
        (["Ben: Ada 7 - 3 = 4"], [False]),
        (["Ben: Ada 6 + 3 = 9"], [False]),
        (["Ben: Dan 7 + 3 = 10"], [False]),
        (["Cleo: Ben 10 - 2 = 8"], [False]),
        (["Ben: Ada 7 + 3 = 10", "Ben: Ada 7 + 3 = 10"], [True, False]),
        ([r"The answer is \boxed{8}."], [False]),
        (["Ben: Ada 7 + 3 = 10", r"The answer is \boxed{10}."], [True, False]),
        (["Zoe: Ada 7 + 3 = 10"], [False]),
        (["hello", ""], [False, False]),
    ],
)
def test_the_checker_finds_the_first_error(problem: Problem, lines: list[str], verdict: list[bool]) -> None:
    assert check_lines(problem, lines) == verdict


def test_pieces_go_wrong_where_no_correct_line_is_left(problem: Problem) -> None:
    pieces = ["Ben", ":", " Ada", " 7", " +", " 3", " =", " 11", "\n", "Cleo"]
    assert check_pieces(problem, pieces) == [True] * 7 + [False] * 3
    assert check_pieces(problem, ["Ben", ":", " Ada", " 7", " -"]) == [True] * 4 + [False]
    assert check_pieces(problem, ["Cleo", ":", " Ada", " 7", " +", " 3", " -", " 2", " =", " 8", "\n"]) == [True] * 11
    assert check_pieces(problem, list(answer_line(8))) == [False] * 4


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


@pytest.mark.parametrize("text", ["", "no box", r"\boxed{9}", r"\boxed{8", r"\boxed{8} then \boxed{9}"])
def test_a_wrong_or_missing_box_is_not_right(problem: Problem, text: str) -> None:
    assert not is_right(problem, text) or text == r"\boxed{8"


def test_the_last_box_counts(problem: Problem) -> None:
    assert is_right(problem, r"\boxed{9} no, \boxed{8}.")
