"""Parts of runs: children with their own share, what was drawn before, other chats, forced text, spans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mull.budget import Budget, Limits
from mull.errors import InvalidRequest, NotFound, Unsupported
from mull.testing import ScriptedGenerator, World
from mull.types import Chat, Sampling

from .test_run import STEP, WORLD, idle, started

HELLO = Chat(messages=({"role": "user", "content": "hello"},))


# -- budgets -----------------------------------------------------------------------------------------------


def test_what_a_part_spends_the_whole_has_spent() -> None:
    whole = Budget(Limits(tokens=100, samples=10))
    part = whole.child(Limits(tokens=60))
    assert part.reserve(3, 20) == (3, 20)
    assert (whole.reserved, whole.samples, part.tokens_left) == (60, 3, 0)
    part.settle(60, 45)
    assert (whole.tokens, part.tokens, whole.tokens_left, part.tokens_left) == (45, 45, 55, 15)


def test_a_part_that_is_spent_says_nothing_of_the_whole() -> None:
    whole = Budget(Limits(tokens=100))
    part = whole.child(Limits(tokens=10))
    assert part.reserve(1, 10) == (1, 10)
    part.settle(10, 10)
    assert part.reserve(1, 10) == (0, 0)
    assert (part.exhausted, whole.exhausted) == ("tokens", None)


def test_a_part_gets_no_more_than_the_whole_has_left() -> None:
    whole = Budget(Limits(tokens=30, samples=5))
    part = whole.child(Limits(tokens=1000, samples=100))
    assert (part.tokens_left, part.samples_left) == (30, 5)
    assert part.reserve(4, 20) == (1, 20)
    assert part.reserve(1, 20) == (0, 0)
    assert [b.exhausted for b in (part, whole)] == [None, None], "what is in flight may give tokens back"
    part.settle(20, 20)
    assert part.reserve(1, 20) == (1, 10)
    part.settle(10, 10)
    assert part.reserve(1, 20) == (0, 0)
    assert [b.exhausted for b in (part, whole)] == ["tokens", "tokens"]


async def test_a_part_cut_off_by_the_budget_of_the_whole_is_flagged() -> None:
    run, engine = started(limits=Limits(tokens=12))
    part = run.child(limits=Limits(tokens=100))
    [cut] = await part.collect(await part.start())
    assert (cut.finish, cut.tokens, part.stopped, run.stopped) == ("length", 12, "tokens", "tokens")
    idle(run, engine)


async def test_a_part_cut_off_by_its_own_share_is_not_flagged() -> None:
    run, engine = started(limits=Limits(tokens=100))
    part = run.child(limits=Limits(tokens=12))
    [cut] = await part.collect(await part.start())
    assert (cut.finish, cut.tokens, part.stopped, run.stopped) == ("length", 12, "tokens", "complete")
    idle(run, engine)


async def test_a_part_waits_for_what_other_parts_have_reserved() -> None:
    run, engine = started(limits=Limits(tokens=90), task=WORLD.task(max_tokens=60))
    first, second = run.child(limits=Limits(tokens=60)), run.child(limits=Limits(tokens=60))
    roots = [await first.start(), await second.start()]
    found = await run.together([first.collect(roots[0]), second.collect(roots[1])])
    assert [len(part) for part in found] == [1, 1]
    assert run.budget.exhausted is None
    idle(run, engine)


# -- children ----------------------------------------------------------------------------------------------


async def test_children_share_account_and_trace_but_not_seeds() -> None:
    run, engine = started(world=World(depth=6), task=World(depth=6).task())
    stage = run.mark("stage", "first")
    one, two = run.child(under=stage), run.child()
    samples = [(await part.collect(await part.start()))[0] for part in (run, one, two)]
    assert len({s.text for s in samples}) == 3, "each part has seeds of its own"
    assert [run.trace.nodes[s.node].parent for s in samples] == [0, stage, 0]
    assert one.calls == two.calls == run.calls == 3
    idle(run, engine)


async def test_the_same_part_gives_the_same_samples() -> None:
    texts = []
    for order in (1, 2):
        run, _ = started(generator=ScriptedGenerator(World(depth=6), order=order))
        part = run.child()
        texts.append([c.text for c in await part.collect(await part.start(), n=4)])
        assert [part.rng.random()] != [run.rng.random()]
    assert texts[0] == texts[1]


async def test_what_was_drawn_is_taken_before_more_is_sampled() -> None:
    run, engine = started()
    drawn = await run.collect(await run.start(), n=3)
    part = run.child(drawn=drawn)
    root = await part.start()
    assert [c.node for c in await part.collect(root, n=2)] == [c.node for c in drawn[:2]]
    rest = await part.collect(root, n=3)
    assert rest[0].node == drawn[2].node
    assert [c.index for c in rest] == [0, 1, 2]
    assert (engine.calls, run.budget.samples) == (2, 5), "one call of three, one of two"
    idle(run, engine)


async def test_what_was_drawn_is_no_step_and_no_answer_to_another_chat() -> None:
    run, _ = started()
    drawn = await run.collect(await run.start(), n=2)
    part = run.child(drawn=drawn)
    assert {c.node for c in await part.collect(await part.start(), step="\n")}.isdisjoint({1, 2})
    assert {c.node for c in await part.ask(HELLO)}.isdisjoint({1, 2})
    hotter = replace(run.task.sampling, temperature=2.0)
    assert {c.node for c in await part.collect(await part.start(), sampling=hotter)}.isdisjoint({1, 2})


async def test_another_model_answers_for_a_child() -> None:
    run, engine = started()
    other = ScriptedGenerator(World(depth=1), model="other")
    run._models = {"other": other}
    part = run.child(model="other")
    [sample] = await part.collect(await part.start())
    assert sample.text.count("\n") == 1
    assert (engine.calls, other.calls, run.calls) == (0, 1, 1)
    with pytest.raises(NotFound, match="known are other"):
        run.child(model="nope")


async def test_a_child_commits_only_where_it_speaks_for_the_whole() -> None:
    told: list[str] = []
    run, _ = started(commit=lambda chunk: told.append(chunk.text))
    quiet, loud = run.child(), run.child(commits=True)
    assert await quiet.follow(await quiet.start()) is not None
    assert not told
    answer = await loud.follow(await loud.start())
    assert answer is not None
    assert "".join(told) == run.committed == answer.text


async def test_why_a_part_stopped_is_why_the_whole_stopped() -> None:
    run, _ = started()
    run.child().child().stop("consensus")
    assert run.stopped == "consensus"


# -- other chats -------------------------------------------------------------------------------------------


async def test_ask_replies_to_another_chat() -> None:
    run, engine = started()
    replies = await run.ask(HELLO, n=2, sampling=Sampling(max_tokens=5), under=run.mark("judge"))
    assert [len(r.text) for r in replies] == [5, 5]
    assert [run.trace.nodes[r.node].kind for r in replies] == ["ask", "ask"]
    assert {run.trace.nodes[r.node].parent for r in replies} == {1}
    idle(run, engine)


async def test_a_chat_too_long_to_ask_gets_no_reply() -> None:
    run, engine = started(generator=ScriptedGenerator(WORLD, context=60))
    long = Chat(messages=({"role": "user", "content": "x" * 100},))
    assert await run.ask(long) == []
    assert [node.kind for node in run.trace.nodes] == ["root", "too_long"]
    with pytest.raises(InvalidRequest, match="tokens"):
        await run.start(long)
    assert engine.calls == 0


# -- forced text and spans ---------------------------------------------------------------------------------


async def test_appended_text_costs_nothing_and_is_continued() -> None:
    run, engine = started()
    [first] = await run.collect(await run.start(), step="\n")
    forced = await run.append(first, STEP)
    assert (forced.text, forced.tokens, forced.finish) == (first.text + STEP, first.tokens, "step")
    assert run.trace.nodes[forced.node].kind == "forced"
    [whole] = await run.collect(forced)
    assert whole.complete
    assert whole.text.startswith(first.text + STEP)
    assert whole.text.count("\n") == WORLD.depth
    idle(run, engine)


@pytest.mark.parametrize("stop", [(), ("\\boxed",)])
async def test_an_answer_that_had_ended_is_open_again(stop: tuple[str, ...]) -> None:
    task = replace(WORLD.task(), sampling=replace(WORLD.task().sampling, stop=stop))
    run, engine = started(task=task)
    [ended] = await run.collect(await run.start())
    assert ended.complete
    reopened = await run.append(ended, "\nWait")
    assert reopened.text == ended.text + "\nWait"
    assert not reopened.complete
    [more] = await run.collect(reopened)  # the scripted engine checks that ids and text agree
    assert more.text.startswith(reopened.text)
    idle(run, engine)


async def test_an_engine_that_cannot_continue_refuses_forced_text() -> None:
    run, _ = started(generator=ScriptedGenerator(WORLD, continues=False))
    [answer] = await run.collect(await run.start())
    with pytest.raises(Unsupported):
        await run.append(answer, "Wait")


async def test_a_span_pauses_and_reserves_only_itself() -> None:
    run, engine = started(limits=Limits(tokens=40))
    pieces = await run.collect(await run.start(), n=4, span=10)
    assert [(c.finish, c.tokens) for c in pieces] == [("step", 10)] * 4
    assert run.budget.exhausted is None, "four spans of 10 fit into 40 tokens, four answers of 200 would not"
    idle(run, engine)


async def test_spans_add_up_to_the_answer() -> None:
    run, engine = started(task=WORLD.task(temperature=0.0))
    candidate = await run.start()
    while candidate.finish in (None, "step"):
        [candidate] = await run.collect(candidate, span=7)
    [whole] = await run.collect(await run.start())
    assert candidate.text == whole.text
    idle(run, engine)


async def test_a_span_as_long_as_all_the_room_is_no_pause() -> None:
    run, _ = started(task=WORLD.task(max_tokens=10))
    [piece] = await run.collect(await run.start(), span=10)
    assert piece.finish == "length"


async def test_a_span_cut_by_the_budget_is_flagged() -> None:
    run, engine = started(limits=Limits(tokens=6))
    [piece] = await run.collect(await run.start(), span=10)
    assert (piece.finish, run.stopped) == ("length", "tokens")
    idle(run, engine)
