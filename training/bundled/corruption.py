"""Synthetic wrong solutions: a correct one with one slip, most often told on as if nothing had happened."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from mull.training.bundled.pieces import split
from mull.training.bundled.problems import MAX_VALUE, TOTAL, WORDING, Op, Problem, Quantity, tell
from mull.training.bundled.solver import Line, answer_line, solve

Slip = Literal["result", "operand", "number", "operation", "entity", "parent", "early", "skip"]
SLIPS: tuple[Slip, ...] = ("result", "operand", "number", "operation", "entity", "parent", "early", "skip")
HIGHEST = 199


def _compute(op: Op, number: int, values: Sequence[int]) -> int:
    """Result of a fact, kept within the range of single-token numbers."""
    match op:
        case "more":
            result = values[0] + number
        case "fewer":
            result = values[0] - number
        case "times":
            result = values[0] * number
        case "share":
            result = values[0] // number
        case "gap":
            result = values[0] - values[1]
        case "sum" | "base":
            result = sum(values)
    return min(max(result, 0), HIGHEST)


def _near(rng: random.Random, value: int) -> int:
    """Another number, most often one that is easily confused with `value`."""
    other = (
        value + rng.choice((-10, -3, -2, -1, 1, 2, 3, 10))
        if rng.random() < 0.75
        else rng.randint(1, MAX_VALUE)
    )
    return min(max(other, 0), HIGHEST)


def _line(q: Quantity, parents: Sequence[tuple[str, int]], result: int) -> Line:
    return (*split(tell(q, [f"{name} {value}" for name, value in parents])), " =", f" {result}", "\n")


def corrupt(problem: Problem, rng: random.Random) -> list[Line]:
    """A solution with a slip in one line; the checker decides which lines it spoils, rarely none."""
    quantities = problem.quantities
    by_name = {q.name: n for n, q in enumerate(quantities)}
    order = [by_name[line[0]] for line in solve(problem, rng)[:-1]]
    believed = [q.value for q in quantities]
    at = rng.randrange(len(order) + 1)
    slip = rng.choice(SLIPS)
    carries = rng.random() < 0.8
    lines: list[Line] = []
    for n, position in enumerate(order):
        q = quantities[position]
        parents = [(quantities[p].name, believed[p]) for p in q.parents]
        if q.op == "sum":
            rng.shuffle(parents)
        if n == at and slip == "skip":
            continue
        if n == at and slip == "early":
            return [*lines, answer_line(rng.choice(believed))]
        if n == at:
            q, parents = _slipped(rng, slip, q, parents, problem)
        result = _compute(q.op, q.number, [value for _, value in parents])
        if n == at and slip == "result":
            result = _near(rng, result)
        lines.append(_line(q, parents, result))
        if carries:
            believed[position] = result
    answer = believed[problem.target]
    if at == len(order):
        answer = rng.choice((*believed, _near(rng, answer)))
    return [*lines, answer_line(answer)]


def _slipped(
    rng: random.Random, slip: Slip, q: Quantity, parents: list[tuple[str, int]], problem: Problem
) -> tuple[Quantity, list[tuple[str, int]]]:
    """The fact as it is wrongly told."""
    spot = rng.randrange(len(parents))
    if slip == "operand":
        parents[spot] = (parents[spot][0], _near(rng, parents[spot][1]))
    elif slip == "parent":
        other = rng.choice([o for o in problem.quantities if o.name != TOTAL])
        parents[spot] = (other.name, other.value)
    elif slip == "entity":
        q = replace(q, name=rng.choice(problem.quantities).name)
    elif slip == "number" and q.number:
        q = replace(
            q, number=max(1, rng.choice((_near(rng, q.number), rng.randint(2, 9)))), wording=_plain(rng, q.op)
        )
    elif slip == "operation" and len(parents) == 1:
        ops: tuple[Op, ...] = ("more", "fewer", "times", "share")
        op = rng.choice(ops)
        q = replace(q, op=op, wording=_plain(rng, op))
    elif slip == "operation" and len(parents) == 2:
        op = "gap" if q.op == "sum" else "sum"
        q = replace(q, op=op, wording=_plain(rng, op))
    return q, parents


def _plain(rng: random.Random, op: Op) -> str:
    return rng.choice(WORDING[op])
