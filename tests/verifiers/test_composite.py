"""Composites: products and weighted means of other verifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mull.errors import VerifierUnavailable
from mull.testing import ScriptedVerifier
from mull.types import Candidate, Passage, Score, Task, VerifierKind
from mull.verifiers.composite import CompositeVerifier
from mull.verifiers.grounding import GroundingVerifier
from mull.verifiers.rules import RegexVerifier

Make = Callable[..., Any]


class Fixed:
    """A verifier that gives the same scores whatever it sees."""

    def __init__(self, *scores: Score, kind: VerifierKind = "process", name: str = "fixed") -> None:
        self.name = name
        self.kind: VerifierKind = kind
        self._scores = scores

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        if not self._scores:
            raise VerifierUnavailable("gone", name=self.name)
        return list(self._scores[: len(candidates)])


async def one(composite: CompositeVerifier, task: Make, candidate: Make) -> Score:
    (score,) = await composite.score(task(), [candidate("a\nb")])
    return score


async def test_product_and_mean_combine_values_and_steps(task: Make, candidate: Make) -> None:
    a = Fixed(Score(value=0.5, steps=(0.5, 0.8), tokens=3))
    b = Fixed(Score(value=0.2, steps=(1.0, 0.2), tokens=4))
    product = await one(CompositeVerifier("both", [a, b]), task, candidate)
    assert (product.value, product.tokens) == (0.1, 7)
    assert product.steps == pytest.approx((0.5, 0.16))
    mean = await one(CompositeVerifier("both", [a, b], how="mean", weights=[3, 1]), task, candidate)
    assert mean.value == pytest.approx(0.425)
    assert mean.steps == pytest.approx((0.625, 0.65))
    powers = await one(CompositeVerifier("both", [a, b], weights=[2, 0]), task, candidate)
    assert powers.value == pytest.approx(0.25)


async def test_it_judges_steps_only_if_all_parts_do(task: Make, candidate: Make) -> None:
    process = Fixed(Score(value=0.5, steps=(0.5, 0.8)))
    outcome = Fixed(Score(value=0.4), kind="outcome")
    mixed = CompositeVerifier("mixed", [process, outcome])
    assert mixed.kind == "outcome"
    assert (await one(mixed, task, candidate)).steps == ()
    assert CompositeVerifier("steps", [process, process]).kind == "process"


async def test_a_rule_the_facts_and_the_logic_by_product(task: Make, candidate: Make) -> None:
    """Syntax, facts and logic as one verifier: an answer that fails in one of them fails."""
    syntax = RegexVerifier("syntax", r"\\boxed\{.+\}")
    facts = GroundingVerifier("facts")
    logic = ScriptedVerifier(
        lambda text, ended: 0.5 if "wrong" in text else 0.8, name="logic", kind="process"
    )
    asked = task("When did it open?", documents=(Passage(text="The café opened in 1876 in Vienna."),))
    answers = [
        "Opened in 1876.\nSo \\boxed{1876}",
        "Opened in 1877.\nSo \\boxed{1877}",
        "Opened in 1876 in Moscow.\nSo \\boxed{1876}",
        "Opened in 1876.\nSo 1876",
    ]
    every = CompositeVerifier("trusted", [syntax, facts, logic])
    assert every.kind == "outcome"
    scores = await every.score(asked, [candidate(answer) for answer in answers])
    assert [score.value for score in scores] == pytest.approx([0.8, 0, 0.4, 0])
    steps = CompositeVerifier("steps", [facts, logic])
    assert steps.kind == "process"
    (judged,) = await steps.score(asked, [candidate(answers[2])])
    assert judged.steps == pytest.approx((0.4, 0.8))


async def test_without_steps_in_one_part_only_values_are_combined(task: Make, candidate: Make) -> None:
    parts = [Fixed(Score(value=0.5, steps=(0.5, 0.8))), Fixed(Score(value=0.0))]
    assert await one(CompositeVerifier("both", parts), task, candidate) == Score(value=0.0)


async def test_unknown_parts_make_it_unknown(task: Make, candidate: Make) -> None:
    parts = [Fixed(Score(value=0.5)), Fixed(Score(value=0.0, known=False))]
    assert not (await one(CompositeVerifier("both", parts), task, candidate)).known


async def test_a_failing_part_is_named(task: Make, candidate: Make) -> None:
    with pytest.raises(VerifierUnavailable) as caught:
        await one(CompositeVerifier("both", [Fixed(Score(value=1)), Fixed(name="gone")]), task, candidate)
    assert caught.value.name == "gone"


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_must_fit(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="one weight a part"):
        CompositeVerifier("both", [Fixed(), Fixed()], weights=weights)


def test_parts_are_needed() -> None:
    with pytest.raises(ValueError, match="needs parts"):
        CompositeVerifier("none", [])
