"""The path-diverse solver: every line that may come next, and random complete solutions.

A line is a tuple of pieces; each piece is one token, so that labels can be given token by token.
"""

import random
from itertools import permutations

from mull.training.problems import Problem, Quantity

Line = tuple[str, ...]

MERGE_RATE = 0.15


def expressions(q: Quantity, parents: tuple[Quantity, ...]) -> list[Line]:
    """All ways to write the computation of `q`, as pieces; each parent is named before its value."""
    number: Line = (f" {q.number}",)
    terms: list[Line] = [(f" {p.name}", f" {p.value}") for p in parents]
    first = terms[0]
    match q.op:
        case "more":
            return [(*first, " +", *number), (*number, " +", *first)]
        case "fewer":
            return [(*first, " -", *number)]
        case "times":
            return [(*number, " *", *first), (*first, " *", *number)]
        case "share":
            return [(*first, " /", *number)]
        case "gap":
            return [(*first, " -", *terms[1])]
        case "sum":
            return [tuple(p for term in order for p in (" +", *term))[1:] for order in permutations(terms)]
        case "base":
            raise ValueError("a base quantity is given, not computed")


def bases(problem: Problem) -> set[int]:
    """The quantities known before the first line."""
    return {i for i, q in enumerate(problem.quantities) if q.op == "base"}


def ways(problem: Problem, known: set[int], position: int) -> list[Line]:
    """Every correct line that computes quantity `position` when `known` are known; empty when there is none.

    A change by a constant of a quantity not yet known may be merged with the computation of that quantity.
    """
    q = problem.quantities[position]
    if position in known:
        return []
    found: list[Line] = []
    if known.issuperset(q.parents):
        found = expressions(q, tuple(problem.quantities[p] for p in q.parents))
    elif q.op in ("more", "fewer"):
        middle = problem.quantities[q.parents[0]]
        if known.issuperset(middle.parents):
            inner = expressions(middle, tuple(problem.quantities[p] for p in middle.parents))
            found = [(*e, " +" if q.op == "more" else " -", f" {q.number}") for e in inner]
    return [(q.name, ":", *e, " =", f" {q.value}", "\n") for e in found]


def answer_line(value: int) -> Line:
    """The last line of every solution."""
    return ("The answer is ", "\\boxed{", str(value), "}.")


def solve(problem: Problem, rng: random.Random) -> list[Line]:
    """One random correct solution: any order that works, operands in any order, some steps merged."""
    known = bases(problem)
    todo = {p for p in problem.needed if p not in known}
    users = {p: [u for u in todo if p in problem.quantities[u].parents] for p in todo}
    lines: list[Line] = []
    while todo:
        direct: list[int] = []
        merged: list[int] = []
        for position in sorted(todo):
            parents = problem.quantities[position].parents
            if known.issuperset(parents):
                direct.append(position)
            elif users.get(parents[0]) == [position] and ways(problem, known, position):
                merged.append(position)
        choice = rng.choice(merged) if merged and rng.random() < MERGE_RATE else rng.choice(direct)
        lines.append(rng.choice(ways(problem, known, choice)))
        if choice in merged:
            todo.discard(problem.quantities[choice].parents[0])
        known.add(choice)
        todo.discard(choice)
    return [*lines, answer_line(problem.answer)]
