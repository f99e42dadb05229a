"""Entropy-gated branching: where it parts, from what, how often."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import BudgetTooSmall
from mull.strategies.base import Needs
from mull.strategies.entropy_branching import EntropyBranching, entropy
from mull.testing import ScriptedGenerator, ScriptedVerifier, Trial, World
from mull.types import Answer, Sampling, TokenLogprob

UNSURE = 0.05
"""Probability of a token at an uncertain place: 19 others share the rest, an entropy of 3 nats."""


def code(letters: str) -> str:
    """The answer that these letters give: a number, so that no algebra is needed to compare it."""
    return "".join(str(ord(letter)) for letter in letters)


class Letters:
    """A model that is unsure of the letters x and y, and continues whatever stands in their places."""

    def __call__(self, text: str, rng: random.Random, sampling: Sampling) -> str:
        full = list("so x then y: ")
        full[: len(text)] = list(text[: len(full)])
        answer = f"\\boxed{{{code(full[3] + full[10])}}}"
        return ("".join(full) + answer)[len(text) :]


def sure(text: str) -> float:
    return UNSURE if len(text) in (4, 11) else 0.999


async def branch(limits: Limits | None = None, **fields: Any) -> tuple[Answer, Trial]:
    options = {key: fields.pop(key) for key in ("verifier",) if key in fields}
    engine = ScriptedGenerator(Letters(), sure=sure)
    trial = Trial(EntropyBranching(**fields), World(), generator=engine, limits=limits, **options)
    return await trial.solve(), trial


def letters(answer: Answer) -> list[str]:
    """What stands in the two places of each answer, sorted."""
    found = sorted(c.candidate.text[3] + c.candidate.text[10] for c in answer.choices)
    assert sorted(c.answer or "" for c in answer.choices) == sorted(map(code, found))
    return found


def test_entropy_counts_what_is_not_among_the_alternatives_as_one() -> None:
    def token(*probabilities: float) -> TokenLogprob:
        top = tuple((str(i), i, math.log(p)) for i, p in enumerate(probabilities))
        return TokenLogprob(token="0", id=0, logprob=top[0][2], top=top)

    assert entropy(token(1.0)) == 0.0
    assert entropy(token(0.5, 0.5)) == pytest.approx(math.log(2))
    assert entropy(token(0.5, 0.25)) == pytest.approx(1.5 * math.log(2))
    assert entropy(TokenLogprob(token="a", id=1, logprob=-1.0)) == 0.0
    assert entropy(token(0.5, 0.5, 0.1)) > 0, "rounded probabilities may come to more than one"


async def test_where_the_model_is_sure_it_costs_one_answer() -> None:
    answer, trial = await branch(threshold=4.0, span=8)
    [only] = answer.choices
    assert only.answer == code("xy")
    assert trial.run.budget.tokens == only.candidate.tokens
    assert [n.kind for n in trial.run.trace.nodes[1:]] == ["span"] * 4


async def test_it_parts_at_uncertain_places_with_the_most_likely_tokens() -> None:
    answer, trial = await branch(n=4, span=64)
    turns = [n for n in trial.run.trace.nodes if n.kind == "turn"]
    assert [n.text for n in turns][:2] == ["so b", "so x then b"]
    assert turns[0].data["entropy"] == pytest.approx(3.0, abs=0.1)
    assert letters(answer) == ["bb", "by", "xb", "xy"]


async def test_a_branch_parts_again_later() -> None:
    """`bb` is a branch of a branch: the first one is unsure of the second letter too."""
    answer, _ = await branch(n=16, span=64, branch=3)
    assert letters(answer) == ["bb", "bc", "by", "cb", "cc", "cy", "xb", "xc", "xy"]


@pytest.mark.parametrize("n", [1, 2, 3, 5])
async def test_there_are_at_most_n_answers(n: int) -> None:
    answer, _ = await branch(n=n, branch=3, span=6)
    assert len(answer.choices) == n
    assert len({c.candidate.text for c in answer.choices}) == n


@pytest.mark.parametrize("span", [1, 2, 3, 5, 10, 64])
async def test_the_span_changes_the_cost_and_not_the_answers(span: int) -> None:
    answer, _ = await branch(n=4, span=span)
    assert letters(answer) == ["bb", "by", "xb", "xy"]
    for choice in answer.choices:
        ids = choice.candidate.prompt.ids or ()
        assert choice.candidate.text == "".join(
            chr(i) for i in ids[-choice.candidate.prompt.generated :] if i
        )


async def test_shared_beginnings_are_paid_for_once() -> None:
    answer, trial = await branch(n=4, span=64)
    apart = sum(c.candidate.tokens for c in answer.choices)
    assert trial.run.budget.tokens < 0.8 * apart
    assert trial.run.budget.tokens == sum(n.tokens for n in trial.run.trace.nodes)


async def test_beyond_its_reach_it_does_not_branch() -> None:
    answer, trial = await branch(n=4, span=4, reach=9)
    assert letters(answer) == ["by", "xy"]
    assert all(s.logprobs is None for s in trial.generator.seen[-2:])


async def test_answers_vote_or_are_scored() -> None:
    judge = ScriptedVerifier(lambda text, ended: 0.9 if "b then" in text else 0.2, kind="outcome")
    voted, trial = await branch(n=4, verifier=judge)
    assert (voted.best.votes, trial.run.verifier_calls) == (1.0, 0)
    scored, trial = await branch(n=4, final="score", verifier=judge)
    assert (scored.best.score, trial.run.verifier_calls) == (0.9, 1)
    weighted, _ = await branch(n=4, final="weighted", verifier=judge)
    assert weighted.best.votes == 0.9
    assert EntropyBranching().needs == Needs(continues=True, ends=True)
    assert EntropyBranching(final="score").needs.verifier == "outcome"


async def test_it_works_at_temperature_0() -> None:
    world = World()
    engine = ScriptedGenerator(Letters(), sure=sure)
    trial = Trial(EntropyBranching(n=4), world, task=world.task(temperature=0.0), generator=engine)
    assert len((await trial.solve()).choices) == 4


async def test_an_end_of_sequence_can_be_the_other_way() -> None:
    engine = ScriptedGenerator(lambda text, rng, sampling: "ab"[len(text) :], sure=lambda text: 0.5)
    engine.ends = frozenset({ord("b")})
    trial = Trial(EntropyBranching(n=2, threshold=0.1), World(), generator=engine)
    answer = await trial.solve()
    ended = [c.candidate for c in answer.choices if c.candidate.text == ""]
    assert [c.finish for c in ended] == ["stop"]


async def test_stop_strings_end_a_branch() -> None:
    world = World()
    task = world.task()
    task = type(task)(
        chat=task.chat, sampling=Sampling(temperature=1.0, seed=0, max_tokens=99, stop=("o b",))
    )
    engine = ScriptedGenerator(Letters(), sure=sure)
    trial = Trial(EntropyBranching(n=2), world, task=task, generator=engine)
    answer = await trial.solve()
    assert sorted(c.candidate.text for c in answer.choices) == ["s", "so x then y: \\boxed{120121}"]
    assert all(c.candidate.complete for c in answer.choices)


async def test_a_spent_budget_returns_what_there_is() -> None:
    answer, trial = await branch(n=4, span=8, limits=Limits(tokens=20))
    assert trial.run.stopped == "tokens"
    assert len(answer.choices) > 1
    with pytest.raises(BudgetTooSmall):
        await branch(limits=Limits(samples=0))


@pytest.mark.parametrize(
    "fields", [{"n": 0}, {"branch": 1}, {"threshold": -1}, {"span": 0}, {"reach": 0}, {"final": "visits"}]
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        EntropyBranching.model_validate(fields)
