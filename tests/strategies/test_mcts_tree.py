"""Selection, expansion and backup as functions of a table."""

from __future__ import annotations

import math

import pytest

from mull.strategies.mcts.tree import Node, Rule, Tree, backup, claim, claims, expand, favourites, select

LEAF = Node()


def seen(total: float, visits: int = 1, prior: float = 0.5, *, is_open: bool = True) -> Node:
    return Node(visits=visits, total=total, prior=prior, open=is_open)


def grown(*children: Node, visits: int = 4) -> Tree:
    return expand((Node(visits=visits, total=0.5 * visits),), 0, children)


def leaf_of(tree: Tree, rule: Rule = "puct", exploration: float = 1.0) -> int | None:
    descent = select(tree, rule, exploration)
    return None if descent is None else descent.leaf


def test_an_unexpanded_root_is_its_own_leaf() -> None:
    assert leaf_of((LEAF,)) == 0


def test_puct_weighs_value_prior_and_visits() -> None:
    tree = grown(seen(0.6), seen(0.5, prior=0.5))
    assert leaf_of(tree) == 1
    tree = grown(seen(0.6, prior=0.1), seen(0.5, prior=0.9))
    assert leaf_of(tree) == 2, "0.6 + 0.1 * 2 / 2 < 0.5 + 0.9 * 2 / 2"
    tree = grown(seen(3.0, visits=5), seen(0.5))
    assert leaf_of(tree) == 2, "0.6 + 0.5 * 2 / 6 < 0.5 + 0.5 * 2 / 2"
    assert leaf_of(tree, exploration=0.0) == 1


def test_uct_tries_everything_once_and_then_by_value_and_visits() -> None:
    assert leaf_of(grown(seen(1.0), LEAF), "uct") == 2
    tree = grown(seen(2.4, visits=3), seen(0.4))
    assert leaf_of(tree, "uct", 0.1) == 1
    bonus = math.sqrt(math.log(4))
    assert 0.8 + bonus / math.sqrt(3) < 0.4 + bonus
    assert leaf_of(tree, "uct", 1.0) == 2


def test_puct_takes_the_unseen_to_be_as_good_as_its_parent() -> None:
    assert leaf_of(grown(seen(0.4), Node(prior=0.5)), exploration=0.0) == 2
    assert leaf_of(grown(seen(0.6), Node(prior=0.5)), exploration=0.0) == 1


def test_ties_go_to_the_earlier_child() -> None:
    for rule in ("puct", "uct"):
        assert leaf_of(grown(seen(0.5), seen(0.5)), rule) == 1
        assert leaf_of(grown(LEAF, LEAF), rule) == 1


def test_what_is_closed_is_never_selected_and_closes_what_is_above() -> None:
    tree = grown(seen(1.0, is_open=False), seen(0.0))
    assert leaf_of(tree) == 2
    tree = expand(tree, 2, [seen(0.3, is_open=False)])
    assert not tree[2].open
    assert not tree[0].open
    assert select(tree, "puct", 1.0) is None


def test_a_closed_child_gets_the_visit_that_it_deserves() -> None:
    tree = grown(seen(1.0, is_open=False), seen(0.0))
    descent = select(tree, "puct", 1.0)
    assert descent is not None
    assert (descent.leaf, descent.passed) == (2, (1,))
    after = backup(tree, descent, 0.2)
    assert [(n.visits, n.total) for n in after] == [(5, 2.2), (2, 2.0), (2, 0.2)]


def test_a_leaf_without_children_is_closed() -> None:
    assert not expand((LEAF,), 0, [])[0].open


def test_backup_counts_the_path_only_and_changes_no_other_table() -> None:
    tree = expand(grown(seen(0.5), seen(0.5), visits=0), 1, [seen(0.5)])
    descent = select(tree, "puct", 0.0)
    assert descent is not None
    after = backup(tree, descent, 1.0)
    assert [n.visits for n in tree] == [0, 1, 1, 1]
    assert [n.visits for n in after] == [1, 2, 1, 2]
    assert after[1].mean == 0.75


def test_virtual_loss_sends_simulations_elsewhere() -> None:
    tree = grown(seen(0.6), seen(0.5), seen(0.1))
    assert [d.leaf for d in claims(tree, 3, "puct", 0.1)] == [1, 2, 3]
    deeper = expand(tree, 1, [seen(0.6), seen(0.6)])
    assert [d.leaf for d in claims(deeper, 2, "puct", 0.1)] == [4, 2], (
        "one visit for nothing makes 1 worth .3"
    )


def test_no_leaf_is_claimed_twice() -> None:
    assert [d.leaf for d in claims((LEAF,), 4, "uct", 1.0)] == [0]
    assert [d.leaf for d in claims(grown(seen(0.9), seen(0.1)), 4, "puct", 0.0)] == [1, 2]
    assert select(claim((LEAF,), 0), "uct", 1.0) is None


def test_favourites_lead_to_answers_only() -> None:
    def visits(node: Node) -> tuple[float, ...]:
        return (node.visits,)

    tree = grown(seen(0, visits=9), seen(0, visits=2), seen(0, visits=2))
    tree = expand(tree, 2, [seen(0, visits=1), seen(0, visits=1)])
    assert favourites(tree, {3, 4, 5}, visits) == [0, 2, 4]
    assert favourites(tree, {3, 5}, visits) == [0, 2, 5]
    assert favourites(tree, {1, 5}, visits) == [0, 1]
    assert favourites(tree, {0, 3}, visits) == [0, 3]
    assert favourites(tree, {0}, visits) == [0]
    assert favourites(tree, set(), visits) == []


@pytest.mark.parametrize("parallel", [1, 4, 16])
@pytest.mark.parametrize(("rule", "exploration"), [("puct", 0.5), ("uct", 0.3)])
def test_it_finds_the_best_of_1000_leaves_with_100_simulations(
    rule: Rule, exploration: float, parallel: int
) -> None:
    """A tree of three levels of ten, whose values say how close a node comes to the best leaf."""
    for best in ((0, 0, 0), (4, 7, 1), (9, 9, 9)):
        tree: Tree = (LEAF,)
        names: list[tuple[int, ...]] = [()]
        done = 0
        while done < 100 and (ways := claims(tree, min(parallel, 100 - done), rule, exploration)):
            done += len(ways)
            for way in ways:
                name = names[way.leaf]
                below = [(*name, digit) for digit in range(10)]
                values = [sum(a == b for a, b in zip(n, best, strict=False)) / 3 for n in below]
                nodes = [seen(v, prior=0.1, is_open=len(n) < 3) for v, n in zip(values, below, strict=True)]
                tree = backup(expand(tree, way.leaf, nodes), way, max(values))
                names += below
        assert best in names
        leaves = {i for i, name in enumerate(names) if len(name) == 3}
        way_down = favourites(tree, leaves, lambda node: (node.visits, node.mean or 0.0))
        assert names[way_down[-1]] == best
