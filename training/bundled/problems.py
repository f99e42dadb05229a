"""Seeded generator of grade-school word problems: a graph of named quantities told in sentences.

Every problem takes 2 to 10 solution steps, all values are 1 to 99, and problem `index` of `seed` is always
the same, whatever else was generated before it. Controlling length through the graph is the idea of iGSM
(Ye et al. 2024, arXiv:2407.20311).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

Op = Literal["base", "more", "fewer", "times", "share", "sum", "gap"]

MAX_VALUE = 99
MIN_STEPS = 2
MAX_STEPS = 10
TOTAL = "Total"

NAMES = (
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jill", "Kai", "Lea", "Max",
    "Nora", "Otto", "Pia", "Quin", "Rosa", "Sam", "Tess", "Uma", "Vik", "Wes", "Xena", "Yara", "Zoe",
)  # fmt: skip
ITEMS = (
    "apples",
    "books",
    "cards",
    "coins",
    "eggs",
    "kites",
    "pens",
    "plums",
    "rings",
    "shells",
    "stamps",
    "toys",
)

WORDING: dict[Op, tuple[str, ...]] = {
    "base": ("{a} owns {n} {i}", "{a} found {n} {i}", "{a} keeps {n} {i}"),
    "more": ("{a} has {n} more than {b}", "{a} beats {b} by {n}", "{a} has as many as {b} plus {n}"),
    "fewer": ("{a} has {n} fewer than {b}", "{a} trails {b} by {n}", "{a} has as many as {b} minus {n}"),
    "times": ("{a} has {n} times as many as {b}", "{a} has as many as {b} times {n}"),
    "share": ("{a} has as many as {b} divided by {n}",),
    "sum": ("{a} has as many as {b} together", "{a} has the sum of {b}"),
    "gap": ("{a} has as many as {b} minus {c}", "{a} has the difference of {b} and {c}"),
}
"""Sentences of each fact: `a` is the quantity told of, `b` and `c` those it follows from, `n` the number."""
FACTOR_WORDING: dict[tuple[Op, int], str] = {
    ("times", 2): "{a} has twice as many as {b}",
    ("share", 2): "{a} has half as many as {b}",
    ("share", 3): "{a} has a third of {b}",
}
TARGET_WORDING = ("How many {i} does {a} have?", "How many does {a} have?", "Find how many {i} {a} has.")
TOTAL_WORDING = ("How many {i} do {b} have together?", "How many do {b} have together?")
TOTAL_LINE = "Total of {b}"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One named number of a problem and how it follows from others."""

    name: str
    op: Op
    parents: tuple[int, ...]
    """Positions, in `Problem.quantities`, of the quantities it is computed from."""
    number: int
    """The constant of the fact; for `base` the value itself, for `sum` and `gap` unused (0)."""
    value: int
    wording: str = ""
    """Template of the sentence that tells the fact, without the period."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A word problem with the graph behind its text."""

    question: str
    quantities: tuple[Quantity, ...]
    """In an order in which each can be computed; distractors included."""
    target: int
    needed: frozenset[int]
    """Positions of the quantities that the answer depends on, bases included."""
    seed: int
    index: int

    @property
    def answer(self) -> int:
        """The value asked for."""
        return self.quantities[self.target].value

    @property
    def n_steps(self) -> int:
        """Computations needed, one a line, without the line that states the answer."""
        return sum(self.quantities[q].op != "base" for q in self.needed)


class ProblemRow(TypedDict):
    """One line of a problem file."""

    id: str
    question: str
    answer: str
    steps: list[str]
    n_steps: int
    seed: int
    index: int


def listed(names: Sequence[str]) -> str:
    """`A and B`, or `A, B and C`."""
    return ", ".join(names[:-1]) + " and " + names[-1]


class _Builder:
    """Grows one graph; the random source decides everything."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names = rng.sample(NAMES, len(NAMES))
        self.quantities: list[Quantity] = []

    def add(self, op: Op, parents: tuple[int, ...], number: int, value: int) -> int:
        wording = FACTOR_WORDING.get((op, number))
        if wording is None or self.rng.random() < 0.5:
            wording = self.rng.choice(WORDING[op])
        self.quantities.append(Quantity(self.names.pop(), op, parents, number, value, wording))
        return len(self.quantities) - 1

    def base(self) -> int:
        value = self.rng.randint(2, 20)
        return self.add("base", (), value, value)

    def unary(self, parent: int) -> int:
        """One of more, fewer, times, share of `parent`, within the range of values."""
        rng, value = self.rng, self.quantities[parent].value
        choices: list[tuple[Op, int, int]] = []
        small = rng.randint(2, 9)
        if value + small <= MAX_VALUE:
            choices.append(("more", small, value + small))
        if value - small >= 1:
            choices.append(("fewer", small, value - small))
        factors = [k for k in (2, 3, 4) if value * k <= 60]
        if factors:
            k = rng.choice(factors)
            choices.append(("times", k, value * k))
        divisors = [k for k in (2, 3, 4) if value % k == 0 and value > k]
        if divisors:
            k = rng.choice(divisors)
            choices.append(("share", k, value // k))
        op, number, result = rng.choice(choices)
        return self.add(op, (parent,), number, result)

    def joint(self, parents: list[int]) -> int | None:
        """The sum, or for two the difference, of `parents`; None when out of range."""
        values = [self.quantities[p].value for p in parents]
        high, low = (0, 1) if values[0] >= values[1] else (1, 0)
        can_sum = sum(values) <= MAX_VALUE
        can_gap = len(parents) == 2 and values[0] != values[1]
        if can_gap and (not can_sum or self.rng.random() < 0.3):
            return self.add("gap", (parents[high], parents[low]), 0, values[high] - values[low])
        if can_sum:
            return self.add("sum", tuple(parents), 0, sum(values))
        return None


def _grow(rng: random.Random, n_steps: int) -> _Builder | None:
    """A graph of `n_steps` computations that all lead to the last quantity, or None when the draw fails."""
    b = _Builder(rng)
    joins = rng.randint(0, max(1, n_steps // 4))
    joins = min(joins, n_steps - 1)
    arity = [3 if rng.random() < 0.08 else 2 for _ in range(joins)]
    unused = [b.base() for _ in range(1 + sum(a - 1 for a in arity))]
    for left in range(n_steps, 0, -1):
        if arity and (left <= len(arity) or rng.random() < len(arity) / left):
            parents = rng.sample(unused, arity.pop())
            made = b.joint(parents)
            if made is None:
                return None
            unused = [u for u in unused if u not in parents] + [made]
            continue
        parent = unused.pop(rng.randrange(len(unused))) if rng.random() < 0.5 else unused.pop()
        used = [q for q in range(len(b.quantities)) if q != parent and q not in unused]
        made = b.joint([parent, rng.choice(used)]) if used and rng.random() < 0.12 else None
        unused.append(b.unary(parent) if made is None else made)
    return b if len(unused) == 1 else None


def tell(q: Quantity, parents: Sequence[str], item: str = "") -> str:
    """The fact as a sentence without its period, with `parents` written as given."""
    b = listed(parents) if q.op == "sum" else parents[0] if parents else ""
    return q.wording.format(a=q.name, b=b, c=parents[-1] if parents else "", n=q.number, i=item)


def _order(rng: random.Random, count: int) -> list[int]:
    """The order of computation, with a few sentences moved."""
    order = list(range(count))
    for fact in range(count):
        if rng.random() < 0.04:
            order.remove(fact)
            order.insert(rng.randrange(count), fact)
    return order


def generate_one(seed: int, index: int, min_steps: int = MIN_STEPS, max_steps: int = MAX_STEPS) -> Problem:
    """Problem number `index` of the stream `seed`, of `min_steps` to `max_steps` computations."""
    rng = random.Random(f"{seed}/{index}/{min_steps}/{max_steps}")
    lengths = range(min_steps, max_steps + 1)
    n_steps = rng.choices(lengths, [MAX_STEPS + 4 - k for k in lengths])[0]
    grown = _grow(rng, n_steps)
    while grown is None:
        grown = _grow(rng, n_steps)
    target = len(grown.quantities) - 1
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        parent = rng.randrange(target)
        if rng.random() < 0.3:
            grown.base()
        else:
            grown.unary(parent)
    quantities = grown.quantities
    item = rng.choice(ITEMS)
    last = quantities[target]
    asks_total = last.op == "sum" and rng.random() < 0.5
    facts = [
        tell(quantities[q], [quantities[p].name for p in quantities[q].parents], item) + "."
        for q in _order(rng, len(quantities))
        if not (asks_total and q == target)
    ]
    if asks_total:
        quantities[target] = replace(last, name=TOTAL, wording=TOTAL_LINE)
        names = listed([quantities[p].name for p in last.parents])
        ask = rng.choice(TOTAL_WORDING).format(b=names, i=item)
    else:
        ask = rng.choice(TARGET_WORDING).format(a=last.name, i=item)
    needed, todo = {target}, [target]
    while todo:
        for parent in quantities[todo.pop()].parents:
            if parent not in needed:
                needed.add(parent)
                todo.append(parent)
    return Problem(" ".join([*facts, ask]), tuple(quantities), target, frozenset(needed), seed, index)


def generate(
    seed: int, count: int, *, start: int = 0, min_steps: int = MIN_STEPS, max_steps: int = MAX_STEPS
) -> Iterator[Problem]:
    """Problems `start` to `start + count - 1` of the stream `seed`."""
    for index in range(start, start + count):
        yield generate_one(seed, index, min_steps, max_steps)


def to_row(problem: Problem) -> ProblemRow:
    """The problem as a row of a JSON Lines file, with one reference solution."""
    from mull.training.bundled.solver import solve

    steps = ["".join(line) for line in solve(problem, random.Random(f"steps/{problem.seed}/{problem.index}"))]
    return {
        "id": f"{problem.seed}-{problem.index}",
        "question": problem.question,
        "answer": str(problem.answer),
        "steps": [s.rstrip("\n") for s in steps],
        "n_steps": problem.n_steps,
        "seed": problem.seed,
        "index": problem.index,
    }
