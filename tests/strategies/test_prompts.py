"""Filling gaps in texts: once, and nothing but the gaps."""

from __future__ import annotations

import random
import re

import pytest

from mull.strategies.prompts import fill, holding


def test_values_are_put_in_as_they_are() -> None:
    filled = fill("{a}{b} {a}: {c} {{a}} {} {", a="{b}", b=r"\g<1> {a} {", d="")
    assert filled == r"{b}\g<1> {a} { {b}: {c} {{b}} {} {"


def test_without_values_nothing_is_filled() -> None:
    assert fill("{a} and {b}") == "{a} and {b}"


def test_any_values_stay_whole() -> None:
    """Pieces of gaps inside values never become gaps."""
    rng, pieces = random.Random(0), ["{", "}", "{a}", "{b}", "a", "b", "\\1", "\n"]
    for _ in range(500):
        a, b = ("".join(rng.choices(pieces, k=5)) for _ in range(2))
        assert fill("<{a}|{b}|{a}>", a=a, b=b) == f"<{a}|{b}|{a}>"


@pytest.mark.parametrize(
    ("template", "holds"),
    [("{a} {b}", True), ("x {b}\n\n{a} {b}", True), ("{a}", False), ("{b} {c}", False), ("{a{b}", False)],
)
def test_templates_without_all_gaps_are_known(template: str, holds: bool) -> None:
    assert (re.search(holding("a", "b"), template) is not None) is holds
