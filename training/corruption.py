"""Synthetic wrong solutions: a correct one with one slip, told to the end as if nothing had happened."""

import random
from collections.abc import Sequence

from mull.training.problems import MAX_VALUE, Problem
from mull.training.solver import Line, answer_line, solve

SIGNS = "+-*/"


def _apply(sign: str, a: int, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // max(b, 1)}[sign]


def _evaluate(expression: Sequence[str]) -> int:
    """Left to right, which for the solver's lines is the usual precedence; names are skipped."""
    result, sign = 0, "+"
    for piece in (p.strip() for p in expression):
        if piece in SIGNS:
            sign = piece
        elif piece.isdigit():
            result = _apply(sign, result, int(piece))
    return min(max(result, 0), 199)


def _near(rng: random.Random, value: int) -> int:
    """Another number, most often one that is easily confused with `value`."""
    other = (
        value + rng.choice((-10, -3, -2, -1, 1, 2, 3, 10))
        if rng.random() < 0.75
        else rng.randint(1, MAX_VALUE)
    )
    return min(max(other, 0), 199)


def corrupt(problem: Problem, rng: random.Random) -> list[Line]:
    """A solution with a slip in one line; the checker decides which lines it spoils, rarely none."""
    lines = solve(problem, rng)
    at = rng.randrange(len(lines))
    if at == len(lines) - 1:
        pool = [q.value for q in problem.quantities]
        return [*lines[:-1], answer_line(rng.choice((*pool, _near(rng, problem.answer))))]
    name, colon, *expression, equals, result, end = lines[at]
    kind = rng.choice(("result", "operand", "given", "sign", "entity", "parent", "early", "skip"))
    numbers = [n for n, piece in enumerate(expression) if piece.strip().isdigit()]
    signs = [n for n, piece in enumerate(expression) if piece.strip() in SIGNS]
    parents = [n for n in range(len(expression)) if n not in numbers and n not in signs]
    if kind == "early":
        return (
            [*lines[: at + 1], answer_line(int(result))] if at < len(lines) - 2 else [*lines[:at], lines[-1]]
        )
    if kind == "skip":
        return [*lines[:at], *lines[at + 1 :]]
    if kind == "entity":
        name = rng.choice(problem.quantities).name
    elif kind == "result":
        result = f" {_near(rng, int(result))}"
    elif kind == "parent":
        other = rng.choice(problem.quantities)
        spot = rng.choice(parents)
        expression[spot] = f" {other.name}"
        if rng.random() < 0.7:
            expression[spot + 1] = f" {other.value}"
            result = f" {_evaluate(expression)}"
    else:
        if kind == "sign":
            expression[rng.choice(signs)] = f" {rng.choice(SIGNS)}"
        else:
            values = [q.number for q in problem.quantities if q.number] + [
                q.value for q in problem.quantities
            ]
            spot = rng.choice(numbers)
            given = rng.choice(values) if kind == "given" else _near(rng, int(expression[spot]))
            expression[spot] = f" {given}"
        result = f" {_evaluate(expression)}"
    wrong: Line = (name, colon, *expression, equals, result, end)
    rest = lines[at + 1 :]
    return [*lines[:at], wrong, *(_carried(rest, name, result) if rng.random() < 0.7 else rest)]


def _carried(lines: list[Line], name: str, value: str) -> list[Line]:
    """Later lines told with the wrong `value` of `name`, and with all that follows from it."""
    changed = {f" {name}": value}
    told: list[Line] = []
    last = value
    for line in lines:
        if line[1] != ":":
            told.append(answer_line(int(last)))
            continue
        label, colon, *expression, equals, last, end = line
        if changed.keys() & set(expression):
            for n, piece in enumerate(expression):
                if piece in changed:
                    expression[n + 1] = changed[piece]
            last = f" {_evaluate(expression)}"
            changed[f" {label}"] = last
        told.append((label, colon, *expression, equals, last, end))
    return told
