"""Confidence: how it is measured, who votes with what weight, what is stopped, when it is enough."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import BudgetTooSmall, Unsupported
from mull.strategies.certainty import certainty
from mull.strategies.confidence import Confidence
from mull.strategies.majority_vote import MajorityVote
from mull.testing import Script, ScriptedGenerator, Trial, World, solve
from mull.types import Answer, Candidate, Chat, Prompt, Sampling, TokenLogprob

WORLD = World()


def candidate(values: Sequence[float]) -> Candidate:
    """One whose tokens have these certainties."""
    tops = tuple(TokenLogprob(token="x", id=1, logprob=-v, top=(("x", 1, -v),)) for v in values)
    return Candidate(
        prompt=Prompt(chat=Chat(messages=())), steps=("x" * len(values),), logprobs=tops, tokens=9
    )


def sure(text: str) -> float:
    """Answers that begin with H are written with certainty, the others not."""
    return 0.95 if text.startswith("H") else 0.5


def guesser(right: float, telling: float) -> Script:
    """Answers 1 with this probability, else mostly 2; `telling` of the texts are certain where right.

    Whether it is certain is written first; an answer that has begun goes on as one that begins so.
    """

    def whole(rng: random.Random) -> str:
        correct = rng.random() < right
        certain = correct if rng.random() < telling else rng.random() < 0.5
        said = "1" if correct else rng.choice("2223")
        return ("H" if certain else "L") + " so" * 6 + f" \\boxed{{{said}}}"

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        drawn = whole(rng)
        while not drawn.startswith(text[:1]):
            drawn = whole(rng)
        return drawn[len(text) :]

    return script


async def ask(texts: Sequence[str], limits: Limits | None = None, **fields: Any) -> tuple[Answer, Trial]:
    """Run it over answers with these texts; what has begun goes on as one of them."""
    left = iter(texts)

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        return next(t for t in texts if t.startswith(text))[len(text) :] if text else next(left)

    engine, task = ScriptedGenerator(script, order=3, sure=sure), WORLD.task(max_tokens=120)
    return await solve(Confidence(**fields), WORLD, task=task, generator=engine, limits=limits)


def box(certain: str, answer: str, length: int = 0) -> str:
    return certain + "." * length + f" \\boxed{{{answer}}}"


# -- measures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "window", "expected"),
    [
        ("mean", 2, 3.0),
        ("tail", 2, 4.5),
        ("tail", 99, 3.0),
        ("lowest", 2, 1.5),
        ("lowest", 1, 1.0),
        ("lowest", 99, 3.0),
        ("bottom", 2, 1.5),
    ],
)
def test_measures(measure: Any, window: int, expected: float) -> None:
    assert certainty(candidate([1.0, 2.0, 3.0, 4.0, 5.0]), measure, window) == pytest.approx(expected)


def test_the_bottom_is_the_lowest_tenth_of_the_windows() -> None:
    found = candidate([float(i) for i in range(1, 31)])
    assert certainty(found, "bottom", 1) == pytest.approx((1 + 2 + 3) / 3)
    assert certainty(candidate([5.0, 1.0]), "bottom", 1) == 1.0


def test_a_token_is_certain_where_one_alternative_stands_out() -> None:
    def one(*probabilities: float) -> Candidate:
        top = tuple(("x", 1, math.log(p)) for p in probabilities)
        token = TokenLogprob(token="x", id=1, logprob=top[0][2], top=top)
        return Candidate(prompt=Prompt(chat=Chat(messages=())), logprobs=(token,), tokens=1)

    peaked, flat = one(0.98, 0.01, 0.01), one(0.34, 0.33, 0.33)
    assert certainty(flat, "mean", 8) == pytest.approx(-(math.log(0.34) + 2 * math.log(0.33)) / 3)
    assert certainty(peaked, "mean", 8) > certainty(flat, "mean", 8)
    impossible = one(0.5, 0.5)
    hidden = Candidate(
        prompt=impossible.prompt,
        tokens=1,
        logprobs=(TokenLogprob(token="x", id=1, logprob=0.0, top=(("x", 1, 0.0), ("y", 2, -math.inf))),),
    )
    assert math.isfinite(certainty(hidden, "mean", 8))


# -- offline -----------------------------------------------------------------------------------------------


async def test_votes_are_weighted_by_certainty() -> None:
    answer, trial = await ask([box("L", "2"), box("H", "1"), box("L", "3")], n=3, keep=1.0)
    low, high = (answer.choices[i].score for i in (-1, 0))
    assert (answer.best.answer, high) == ("1", 1.0)
    assert [c.votes for c in answer.choices] == [1.0, low, low]
    told = {n.text[0]: n.data["certainty"] for n in trial.run.trace.nodes[1:]}
    assert told["H"] > 1.5 * told["L"] > 0
    assert low == pytest.approx(told["L"] / told["H"])


async def test_only_the_most_certain_share_votes() -> None:
    texts = [box("L", "2")] * 6 + [box("H", "1")] * 2
    answer, _ = await ask(texts, n=8, keep=0.25)
    assert (answer.best.answer, answer.confidence, answer.best.votes) == ("1", 1.0, 2.0)
    assert len(answer.choices) == 8
    assert [c.votes for c in answer.choices[2:]] == [0.0] * 6


async def test_the_share_is_taken_of_what_can_be_read() -> None:
    texts = [*["H no idea"] * 4, *["H" + "." * 200] * 2, box("L", "2"), box("L", "3"), box("L", "2")]
    answer, _ = await ask(texts, n=9, keep=0.34)
    assert (answer.best.answer, answer.confidence) == ("2", 0.5)


async def test_certain_answers_beat_the_majority_where_certainty_tells() -> None:
    right = reference = 0
    for seed in range(60):
        task, script = WORLD.task(seed=seed), guesser(0.4, telling=0.7)
        engine = ScriptedGenerator(script, sure=sure)
        answer, _ = await solve(Confidence(n=16, keep=0.3, top=5), WORLD, task=task, generator=engine)
        vote, _ = await solve(MajorityVote(n=16), WORLD, task=task, generator=ScriptedGenerator(script))
        right += answer.best.answer == "1"
        reference += vote.best.answer == "1"
    assert reference < 35
    assert right > reference + 15


@pytest.mark.parametrize("keep", [0.5, 0.9])
async def test_certainty_that_tells_nothing_does_no_harm(keep: float) -> None:
    """Half of the votes, chosen at random, still find a clear majority; 4 sigma of 80 trials are 18."""
    right = reference = 0
    for seed in range(80):
        task, script = WORLD.task(seed=seed), guesser(0.6, telling=0.0)
        engine = ScriptedGenerator(script, sure=sure)
        answer, _ = await solve(Confidence(n=16, keep=keep, top=5), WORLD, task=task, generator=engine)
        vote, _ = await solve(MajorityVote(n=16), WORLD, task=task, generator=ScriptedGenerator(script))
        right += answer.best.answer == "1"
        reference += vote.best.answer == "1"
    assert right > reference - 16
    assert right > 48, "as often as one sample"


async def test_equal_certainty_makes_it_a_majority_vote() -> None:
    for seed in range(20):
        world = World(depth=2, silent=0.2, rambling=0.1)
        task = world.task(seed=seed, max_tokens=60)
        answer, _ = await solve(Confidence(n=9, keep=1.0), world, task=task)
        vote, _ = await solve(MajorityVote(n=9), world, task=task)
        assert [c.answer for c in answer.choices] == [c.answer for c in vote.choices]
        assert answer.confidence == vote.confidence


# -- online ------------------------------------------------------------------------------------------------


ONLINE: dict[str, Any] = {"mode": "online", "warmup": 4, "batch": 2, "window": 4, "span": 8, "keep": 0.5}


async def test_uncertain_answers_are_stopped_and_do_not_vote() -> None:
    texts = [
        *(box("H", "1", 40), box("H", "3", 40), box("L", "2", 40), box("L", "2", 40)),
        *(box("L", "2", 40), box("H", "1", 40)),
    ]
    answer, trial = await ask(texts, n=6, **ONLINE)
    (threshold,) = [n.data["value"] for n in trial.run.trace.nodes if n.kind == "threshold"]
    certain = {n.data.get("certainty", 0.0) for n in trial.run.trace.nodes if n.text.startswith("H")}
    assert threshold == pytest.approx(max(certain))
    stopped = [n for n in trial.run.trace.nodes if n.data.get("pruned")]
    assert [(n.text[0], n.tokens) for n in stopped] == [("L", 8)]
    assert (answer.best.answer, answer.best.votes) == ("1", 2.0)
    assert [c.candidate.finish for c in answer.choices].count("step") == 1
    assert [c.answer for c in answer.choices][-1] is None
    assert sum(c.votes or 0 for c in answer.choices if c.answer == "2") == 0.0


async def test_it_stops_as_soon_as_the_votes_agree() -> None:
    texts = [box("H", "1", 20)] * 12
    answer, trial = await ask(texts, n=12, **ONLINE)
    assert (trial.run.budget.samples, trial.run.stopped) == (4, "consensus")
    assert (answer.best.answer, answer.confidence) == ("1", 1.0)


async def test_a_later_batch_can_bring_the_consensus() -> None:
    texts = [*(box("H", "1") for _ in range(3)), box("H", "2"), *(box("H", "1") for _ in range(20))]
    answer, trial = await ask(texts, n=24, consensus=0.82, **ONLINE)
    assert (len(answer.choices), trial.run.stopped) == (6, "consensus")


async def test_online_saves_tokens_where_certainty_tells_and_keeps_its_gain() -> None:
    right = reference = spent = whole = 0
    for seed in range(40):
        task, script = WORLD.task(seed=seed), guesser(0.4, telling=0.7)
        engine = ScriptedGenerator(script, sure=sure)
        strategy = Confidence(n=24, top=5, **{**ONLINE, "warmup": 8, "batch": 8, "keep": 0.4})
        answer, trial = await solve(strategy, WORLD, task=task, generator=engine)
        vote, full = await solve(MajorityVote(n=24), WORLD, task=task, generator=ScriptedGenerator(script))
        right += answer.best.answer == "1"
        reference += vote.best.answer == "1"
        spent += trial.run.budget.tokens
        whole += full.run.budget.tokens
    assert right > reference + 8
    assert spent < 0.85 * whole


async def test_the_number_of_checks_is_bounded() -> None:
    texts = [box("H", str(i), 60) for i in range(5)]
    _, trial = await ask(texts, n=5, checks=2, **ONLINE)
    assert trial.run.budget.samples == 4 + 3
    assert Confidence(n=5, checks=2, **ONLINE).cost().generations == 4 + 3


async def test_a_budget_spent_meanwhile_leaves_the_unfinished_behind() -> None:
    texts = [box("H", "1", 30), box("H", "2", 30), box("H", "1", 30), box("H", "2", 30), box("H", "1", 30)]
    answer, trial = await ask(texts, n=5, limits=Limits(samples=6), **ONLINE)
    assert (trial.run.stopped, answer.best.answer) == ("samples", "1")
    assert answer.choices[-1].candidate.finish == "step"


@pytest.mark.parametrize("mode", ["offline", "online"])
async def test_no_budget_at_all_is_an_error(mode: str) -> None:
    with pytest.raises(BudgetTooSmall):
        await ask([], limits=Limits(samples=0), mode=mode)


# -- what it asks of an engine -----------------------------------------------------------------------------


async def test_it_asks_for_the_alternatives_and_says_when_there_are_none() -> None:
    _, trial = await ask([box("H", "1")] * 4, n=4, top=7)
    assert {s.logprobs for s in trial.generator.seen} == {7}

    class Mute(ScriptedGenerator):
        def _logprobs(self, *_: object) -> tuple[TokenLogprob, ...]:
            return ()

    with pytest.raises(Unsupported, match="alternative tokens"):
        await solve(Confidence(n=2), WORLD, generator=Mute(WORLD))


def test_only_online_needs_an_engine_that_continues() -> None:
    assert not Confidence().needs.continues
    assert Confidence(mode="online").needs.continues


@pytest.mark.parametrize(
    "fields",
    [{"keep": 0.0}, {"top": 21}, {"top": 0}, {"measure": "median"}, {"consensus": 0.5}, {"mode": "live"}],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Confidence.model_validate(fields)
