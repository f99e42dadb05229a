"""The tree of a Monte Carlo search: a flat table of nodes, and pure functions from table to table.

UCT as in Kocsis and Szepesvári 2006, Bandit Based Monte-Carlo Planning; PUCT as in Silver et al. 2017,
Mastering the Game of Go without Human Knowledge. Nothing here is random: ties go to the earlier child.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Rule = Literal["puct", "uct"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One partial answer and what simulations have made of it."""

    parent: int = -1
    """Its place in the table; -1 for the root, which comes first."""
    prior: float = 1.0
    """Share of its parent's exploration that it deserves before anything is known."""
    visits: int = 0
    """Its own evaluation, if there was one, and the simulations that went through it."""
    total: float = 0.0
    """Sum of their values."""
    children: tuple[int, ...] = ()
    open: bool = True
    """Whether something below it can still be expanded."""

    @property
    def mean(self) -> float | None:
        """Mean value; None while nothing is known."""
        return self.total / self.visits if self.visits else None


Tree = tuple[Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Descent:
    """Where a simulation goes."""

    leaf: int
    """What it expands."""
    passed: tuple[int, ...] = ()
    """Closed children on the way that it would rather have gone to: a visit that costs nothing is theirs."""


def select(tree: Tree, rule: Rule, exploration: float) -> Descent | None:
    """The way of the next simulation; None when everything is closed."""
    if not tree[0].open:
        return None
    at, passed = 0, list[int]()
    while tree[at].children:
        urges = {child: _urge(tree[child], tree[at], rule, exploration) for child in tree[at].children}
        first = max(urges, key=urges.__getitem__)
        if not tree[first].open:
            passed.append(first)
        at = max((child for child in urges if tree[child].open), key=urges.__getitem__)
    return Descent(leaf=at, passed=tuple(passed))


def _urge(node: Node, parent: Node, rule: Rule, exploration: float) -> float:
    """How much a simulation at the parent wants to go to this child."""
    mean = node.mean
    if rule == "uct":
        if mean is None:
            return math.inf
        return mean + exploration * math.sqrt(math.log(max(1, parent.visits)) / node.visits)
    # What nobody has seen is taken to be as good as its parent.
    known = mean if mean is not None else parent.mean or 0.0
    return known + exploration * node.prior * math.sqrt(max(1, parent.visits)) / (1 + node.visits)


def claim(tree: Tree, leaf: int) -> Tree:
    """The table as other simulations should see it while one is under way at a leaf: its virtual loss.

    A visit worth nothing turns them away from the path, and the leaf itself is closed to them.
    """
    nodes = list(backup(tree, Descent(leaf=leaf), 0.0))
    nodes[leaf] = replace(nodes[leaf], open=False)
    return _with_openness(nodes, nodes[leaf].parent)


def claims(tree: Tree, n: int, rule: Rule, exploration: float) -> list[Descent]:
    """The ways of up to `n` simulations that run at once."""
    found: list[Descent] = []
    while len(found) < n and (descent := select(tree, rule, exploration)) is not None:
        found.append(descent)
        tree = claim(tree, descent.leaf)
    return found


def expand(tree: Tree, leaf: int, children: Sequence[Node]) -> Tree:
    """The table with children below a leaf; without any the leaf is closed."""
    first = len(tree)
    nodes = [*tree, *(replace(child, parent=leaf) for child in children)]
    nodes[leaf] = replace(nodes[leaf], children=tuple(range(first, len(nodes))))
    return _with_openness(nodes, leaf)


def backup(tree: Tree, descent: Descent, value: float) -> Tree:
    """The table after a simulation that came to a value."""
    nodes = list(tree)
    for at in ancestry(tree, descent.leaf):
        nodes[at] = replace(nodes[at], visits=nodes[at].visits + 1, total=nodes[at].total + value)
    for at in descent.passed:
        mean = nodes[at].mean or 0.0
        nodes[at] = replace(nodes[at], visits=nodes[at].visits + 1, total=nodes[at].total + mean)
    return tuple(nodes)


def favourites(tree: Tree, answered: Collection[int], key: Callable[[Node], tuple[float, ...]]) -> list[int]:
    """The way down from the root that goes to the child with the largest key, towards answers only.

    Args:
        tree: The table.
        answered: The nodes that have an answer; without any there is no way.
        key: What makes a child the best; on a tie the earlier one is.
    """
    leads = {at for node in answered for at in ancestry(tree, node)}
    way, leading = list[int](), [0] if leads else []
    while leading:
        way.append(max(leading, key=lambda child: key(tree[child])))
        leading = [child for child in tree[way[-1]].children if child in leads]
    return way


def ancestry(tree: Tree, node: int) -> Iterator[int]:
    """The node and everything above it."""
    while node >= 0:
        yield node
        node = tree[node].parent


def _with_openness(nodes: list[Node], changed: int) -> Tree:
    """Close, or open again, what is above a change below `changed`."""
    while changed >= 0:
        node = nodes[changed]
        nodes[changed] = replace(node, open=any(nodes[child].open for child in node.children))
        changed = node.parent
    return tuple(nodes)
