"""The path-diverse solver: every line that may come next, and random complete solutions.

A line is a tuple of pieces; each piece is one token, so that labels can be given token by token.
"""

import random
from collections.abc import Iterable
from itertools import permutations

from mull.training.bundled.pieces import split
from mull.training.bundled.problems import Problem, tell

Line = tuple[str, ...]

FIRST_RATE = 0.5
"""How often the solver takes the first quantity that can be computed, instead of any."""


def bases(problem: Problem) -> set[int]:
    """The quantities known before the first line."""
    return {i for i, q in enumerate(problem.quantities) if q.op == "base"}


def ways(problem: Problem, known: set[int], position: int) -> list[Line]:
    """Every correct line that computes quantity `position` when `known` are known; empty when there is none.

    A line tells the fact again with the value after each name, terms of a sum in any order, and the result.
    """
    q = problem.quantities[position]
    if position in known or not known.issuperset(q.parents):
        return []
    parents = [problem.quantities[p] for p in q.parents]
    terms = [f"{p.name} {p.value}" for p in parents]
    orders = permutations(terms) if q.op == "sum" else (terms,)
    return [(*split(tell(q, order)), " =", f" {q.value}", "\n") for order in orders]


def answer_line(value: int) -> Line:
    """The last line of every solution."""
    return ("The answer is ", "\\boxed{", str(value), "}.")


def solve(problem: Problem, rng: random.Random, told: Iterable[int] = ()) -> list[Line]:
    """One random correct solution: any order that works, the terms of sums in any order.

    Quantities in `told` were computed before: the lines go on from there.
    """
    known = bases(problem) | set(told)
    todo = [p for p in sorted(problem.needed) if p not in known]
    lines: list[Line] = []
    while todo:
        ready = [p for p in todo if known.issuperset(problem.quantities[p].parents)]
        choice = ready[0] if rng.random() < FIRST_RATE else rng.choice(ready)
        lines.append(rng.choice(ways(problem, known, choice)))
        known.add(choice)
        todo.remove(choice)
    return [*lines, answer_line(problem.answer)]
