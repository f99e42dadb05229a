"""What requests are expected to cost, before and after some like them were seen."""

from __future__ import annotations

import pytest

from mull.budget import Limits
from mull.server.choose import Plan
from mull.server.queueing.expected import FIRST_GUESS, Expected
from mull.server.service import Job
from mull.strategies.base import StrategyModel
from mull.strategies.beam_search import BeamSearch
from mull.strategies.majority_vote import MajorityVote
from mull.strategies.single import Single
from mull.types import Chat, Sampling, Task

SEARCH, VOTE = BeamSearch(width=4, expand=4), MajorityVote(n=16)


def job(strategy: StrategyModel, *, max_tokens: int | None = None, **limits: int) -> Job:
    plan = Plan(model="m", alias="m", name="s", strategy=strategy, verifier=None, limits=Limits(**limits))
    task = Task(chat=Chat(messages=()), sampling=Sampling(max_tokens=max_tokens))
    return Job(plan=plan, task=task)


def test_before_any_was_seen() -> None:
    expected = Expected()
    assert expected.cost(job(Single())) == FIRST_GUESS
    assert expected.cost(job(VOTE)) == 16 * FIRST_GUESS
    assert expected.cost(job(VOTE, max_tokens=10)) == 160
    assert expected.cost(job(VOTE, tokens=100)) == 100
    assert expected.cost(job(VOTE, samples=3)) == 3 * FIRST_GUESS


def test_each_strategy_costs_what_it_did_cost() -> None:
    """A search that may take 40 levels and takes 6 is expected to take 6."""
    expected, spent = Expected(), {Single(): 50, VOTE: 800, SEARCH: 900}
    for strategy, tokens in spent.items():
        expected.learn(job(strategy).plan, tokens)
    assert {each: expected.cost(job(each)) for each in spent} == pytest.approx(spent)
    # Of a wider one as much more.
    assert expected.cost(job(BeamSearch(width=8, expand=4))) == pytest.approx(1800)
    assert expected.cost(job(MajorityVote(n=64))) == pytest.approx(3200)


def test_it_follows_what_comes() -> None:
    expected = Expected()
    for tokens in [100] + [200] * 50:
        expected.learn(job(Single()).plan, tokens)
    assert expected.cost(job(Single())) == pytest.approx(200, rel=0.01)
    expected.learn(job(Single()).plan, 2000)
    assert expected.cost(job(Single())) < 400
