"""Alternatives at a position, and answers that go on with one of them."""

from __future__ import annotations

import math

import pytest

from mull.run import Run
from mull.strategies.tokens import options, turned, watched
from mull.testing import ScriptedGenerator, Trial, World, encode
from mull.types import Sampling, TokenLogprob

HEAD = tuple(TokenLogprob(token=c, id=ord(c), logprob=-0.1) for c in "so ")
AT = TokenLogprob(token="x", id=ord("x"), logprob=-0.5, top=(("x", ord("x"), -0.5), ("y", ord("y"), -1.0)))


def run_with(*stop: str) -> Run:
    task = World().task()
    sampling = Sampling(stop=stop, temperature=1.0, seed=0)
    trial = Trial(
        lambda task, run: None,  # type: ignore[arg-type]
        World(),
        task=type(task)(chat=task.chat, sampling=sampling),
        generator=ScriptedGenerator(World()),
    )
    return trial.run


def test_options_are_possible_known_and_whole_and_come_once() -> None:
    top = (
        ("b", 2, -2.0),
        ("a", 1, -1.0),
        ("a", 1, -1.5),
        ("?", -1, -0.1),
        ("z", 3, -math.inf),
        ("\N{REPLACEMENT CHARACTER}", 4, -0.2),
    )
    own = TokenLogprob(token="c", id=5, logprob=-3.0, top=top)
    assert options(own) == [("a", 1, -1.0), ("b", 2, -2.0), ("c", 5, -3.0)]
    piece = TokenLogprob(token="\N{REPLACEMENT CHARACTER}", id=4, logprob=-0.2, top=top)
    assert options(piece)[0][1] == 4


def test_as_many_alternatives_are_asked_for_as_anybody_needs() -> None:
    assert watched(Sampling(), 20).logprobs == 20
    assert watched(Sampling(logprobs=5), 4, temperature=0.0) == Sampling(logprobs=5, temperature=0.0)


async def test_a_turn_is_the_head_and_another_token_and_costs_nothing() -> None:
    run = run_with()
    root = await run.start()
    turn = turned(run, root, HEAD, AT, ("y", ord("y"), -1.0), entropy=0.7)
    assert (turn.text, turn.finish, turn.tokens) == ("so y", "step", 4)
    assert turn.prompt.ids == (root.prompt.ids or ()) + encode("so y")
    assert [t.token for t in turn.logprobs] == list("so y")
    assert turn.logprobs[-1].top == AT.top
    node = run.trace.nodes[turn.node]
    assert (node.parent, node.text, node.tokens) == (root.node, "so y", 0)
    assert node.data == {"logprob": -1.0, "entropy": 0.7}
    assert run.budget.tokens == 0
    [more] = await run.collect(turn)
    assert more.text.startswith("so y")


async def test_a_turn_that_is_an_end_of_sequence_ends_the_answer() -> None:
    run = run_with()
    turn = turned(run, await run.start(), HEAD, AT, ("", 0, -2.0))
    assert (turn.text, turn.complete, turn.tokens) == ("so ", True, 4)


@pytest.mark.parametrize(("stop", "text"), [("y", "so "), ("o y", "s"), ("x", None), ("s", "")])
async def test_a_turn_that_completes_a_stop_string_ends_before_it(stop: str, text: str | None) -> None:
    run = run_with(stop)
    turn = turned(run, await run.start(), HEAD, AT, ("y", ord("y"), -1.0))
    assert (turn.text, turn.complete) == (("so y", False) if text is None else (text, True))


async def test_a_stop_string_can_begin_before_the_turn() -> None:
    run = run_with("o y")
    first = turned(run, await run.start(), HEAD[:1], HEAD[1], ("o", ord("o"), -0.1))
    space = turned(run, first, (), HEAD[2], (" ", ord(" "), -0.1))
    last = turned(run, space, (), AT, ("y", ord("y"), -1.0))
    assert (last.steps, last.complete) == (("so", " ", ""), True)
