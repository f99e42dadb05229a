"""What a run promises to strategies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from mull.answers import Answers
from mull.budget import Budget, Limits
from mull.errors import EngineUnavailable, InvalidRequest, Unsupported
from mull.protocols import Verifier
from mull.run import Run
from mull.testing import ScriptedGenerator, ScriptedVerifier, World
from mull.types import Candidate, Chunk, Score, Task, Usage, VerifierKind

WORLD = World()
STEP = "take 1\n"


def started(
    *,
    world: World = WORLD,
    task: Task | None = None,
    limits: Limits | None = None,
    generator: ScriptedGenerator | None = None,
    verifier: Verifier | None = None,
    commit: Callable[[Chunk], None] | None = None,
) -> tuple[Run, ScriptedGenerator]:
    engine = generator or ScriptedGenerator(world, order=1)
    run = Run(
        task=task or world.task(),
        generator=engine,
        answers=Answers(),
        verifier=verifier,
        budget=Budget(limits),
        commit=commit,
    )
    return run, engine


def idle(run: Run, engine: ScriptedGenerator) -> None:
    assert engine.in_flight == 0
    assert run.budget.reserved == 0
    assert run.usage == engine.usage
    assert sum(n.tokens for n in run.trace.nodes) == run.budget.tokens == run.usage.completion


def hang_after(turns: int) -> Callable[[], Awaitable[None]]:
    left = turns

    async def pause() -> None:
        nonlocal left
        left -= 1
        await (asyncio.sleep(0) if left >= 0 else asyncio.get_running_loop().create_future())

    return pause


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(1000):
        if reached():
            return
        await asyncio.sleep(0)
    raise AssertionError("never reached")


# -- sampling ----------------------------------------------------------------------------------------------


async def test_samples_come_as_they_finish_and_collect_orders_them() -> None:
    run, engine = started()
    root = await run.start()
    async with aclosing(run.sample(root, n=6)) as samples:
        arrived = [c async for c in samples]
    assert sorted(c.index for c in arrived) == list(range(6))
    assert [c.index for c in arrived] != list(range(6))
    again, _ = started()
    collected = await again.collect(root, n=6)
    assert [c.text for c in collected] == [c.text for c in sorted(arrived, key=lambda c: c.index)]
    idle(run, engine)


async def test_candidates_carry_their_path() -> None:
    run, engine = started()
    [first] = await run.collect(await run.start(), step="\n")
    [second] = await run.collect(first, step="\n")
    assert first.finish == second.finish == "step"
    assert second.steps == (first.text, second.text.removeprefix(first.text))
    assert second.tokens == len(second.text) == second.prompt.generated
    assert second.prompt.text == second.text
    assert run.trace.nodes[second.node].parent == first.node
    idle(run, engine)


async def test_closing_aborts_the_rest_and_bills_it() -> None:
    run, engine = started()
    async with aclosing(run.sample(await run.start(), n=6)) as samples:
        await anext(samples)
    idle(run, engine)
    assert run.calls == 6
    [lost] = [n for n in run.trace.nodes if n.kind == "cancelled"]
    assert lost.tokens > 0


async def test_one_failing_branch_stops_the_others() -> None:
    run, engine = started(generator=ScriptedGenerator(WORLD, fail_after=2))
    root = await run.start()
    with pytest.raises(EngineUnavailable):
        await run.expand([root, root, root, root], n=3, step="\n")
    idle(run, engine)


async def test_cancelling_mid_sample_leaves_nothing() -> None:
    run, engine = started(generator=ScriptedGenerator(WORLD, pause=hang_after(2)))
    asking = asyncio.create_task(run.collect(await run.start(), n=4))
    await until(lambda: len(run.trace.nodes) == 3)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    idle(run, engine)
    assert [n.kind for n in run.trace.nodes] == ["root", "sample", "sample", "cancelled"]


async def test_an_engine_that_cannot_continue_refuses_steps() -> None:
    run, _ = started(generator=ScriptedGenerator(WORLD, continues=False))
    root = await run.start()
    [whole] = await run.collect(root)
    assert whole.complete
    for asked in (run.collect(root, step="\n"), run.collect(whole), run.follow(whole)):
        with pytest.raises(Unsupported, match="cannot continue"):
            await asked


async def test_several_samples_at_temperature_0_are_refused() -> None:
    run, engine = started(task=WORLD.task(temperature=0.0))
    root = await run.start()
    with pytest.raises(InvalidRequest) as refused:
        await run.collect(root, n=2)
    assert refused.value.param == "temperature"
    assert len(await run.collect(root)) == 1
    assert engine.calls == 1


# -- limits ------------------------------------------------------------------------------------------------


async def test_max_tokens_holds_for_the_whole_answer() -> None:
    run, engine = started(task=WORLD.task(max_tokens=10))
    [first] = await run.collect(await run.start(), step="\n")
    [second] = await run.collect(first, step="\n")
    assert (first.tokens, second.tokens, second.finish) == (7, 10, "length")
    [third] = await run.collect(second, n=3, step="\n")
    assert (third.text, third.finish, third.node) == (second.text, "length", second.node)
    assert (await run.follow(second)) == replace(second, finish="length")
    assert engine.calls == 2
    assert run.stopped == "complete", "the request's own limit is no budget"


async def test_the_context_is_a_limit_too() -> None:
    prompt = await ScriptedGenerator(WORLD).render(WORLD.task().chat)
    assert prompt.ids is not None
    engine = ScriptedGenerator(WORLD, context=len(prompt.ids) + 9)
    run, _ = started(generator=engine, task=WORLD.task(max_tokens=None))
    [cut] = await run.collect(await run.start())
    assert (cut.tokens, cut.finish) == (9, "length")


async def test_a_token_budget_is_never_overspent_and_its_last_token_used() -> None:
    run, engine = started(limits=Limits(tokens=100), task=WORLD.task(max_tokens=60))
    found = await run.collect(await run.start(), n=8)
    assert run.budget.tokens == 100
    assert run.stopped == "tokens"
    assert [c.index for c in found] == list(range(len(found)))
    assert [c.finish for c in found] == ["stop"] * (len(found) - 1) + ["length"]
    idle(run, engine)


async def test_a_sample_cut_by_the_budget_is_flagged_even_if_it_is_the_last() -> None:
    for commit in (None, lambda chunk: None):
        run, engine = started(limits=Limits(tokens=10), commit=commit)
        candidate = await run.follow(await run.start())
        assert candidate is not None
        assert (candidate.tokens, candidate.finish, run.stopped) == (10, "length", "tokens")
        idle(run, engine)


@pytest.mark.parametrize("tokens", [30, 75, 90, 120, 150, 200])
async def test_who_gets_the_last_tokens_does_not_depend_on_who_finishes_first(tokens: int) -> None:
    seen = []
    for order in (None, 1, 2, 3, 4, 5):
        run, engine = started(
            limits=Limits(tokens=tokens),
            task=WORLD.task(max_tokens=40),
            generator=ScriptedGenerator(WORLD, order=order),
        )
        root = await run.start()
        [beam] = await run.collect(root, step="\n")
        families = await run.expand([root, beam, root], n=3)
        seen.append([[(c.index, c.text, c.finish) for c in family] for family in families])
        idle(run, engine)
    assert all(s == seen[0] for s in seen)


async def test_a_waiting_follow_gets_what_others_leave() -> None:
    run, engine = started(
        limits=Limits(tokens=100), task=WORLD.task(max_tokens=80), commit=lambda chunk: None
    )
    root = await run.start()
    both = await asyncio.gather(run.collect(root), run.follow(root))
    assert both[1] is not None
    assert run.budget.tokens == both[0][0].tokens + both[1].tokens <= 100
    idle(run, engine)


async def test_samples_run_out() -> None:
    run, _ = started(limits=Limits(samples=3))
    root = await run.start()
    assert len(await run.collect(root, n=2)) == 2
    assert len(await run.collect(root, n=5)) == 1
    assert await run.collect(root) == []
    assert await run.follow(root) is None
    assert run.stopped == "samples"


async def test_a_deadline_keeps_what_is_finished() -> None:
    engine = ScriptedGenerator(WORLD, pause=hang_after(3))
    run, _ = started(limits=Limits(seconds=1.0), generator=engine)
    found = await run.collect(await run.start(), n=6)
    assert [c.index for c in found] == [0, 1, 2]
    assert run.stopped == "seconds"
    idle(run, engine)
    assert await run.collect(await run.start()) == []


async def test_a_deadline_ends_waiting_for_tokens() -> None:
    engine = ScriptedGenerator(WORLD, pause=hang_after(0))
    run, _ = started(limits=Limits(seconds=0.05, tokens=50), task=WORLD.task(max_tokens=50), generator=engine)
    root = await run.start()
    assert await run.expand([root, root], n=1) == [[], []]
    assert run.stopped == "seconds"
    idle(run, engine)


# -- following ---------------------------------------------------------------------------------------------


async def test_following_commits_live() -> None:
    chunks: list[Chunk] = []
    run, engine = started(commit=chunks.append)
    candidate = await run.follow(await run.start())
    assert candidate is not None
    assert candidate.complete
    assert len(chunks) > 5
    assert "".join(c.text for c in chunks) == run.committed == candidate.text
    assert candidate.prompt.generated == candidate.tokens == run.usage.completion
    idle(run, engine)


async def test_following_without_a_listener_is_sampling() -> None:
    run, _ = started()
    candidate = await run.follow(await run.start())
    other, _ = started(commit=lambda chunk: None)
    live = await other.follow(await other.start())
    assert candidate is not None
    assert live is not None
    assert candidate.text == live.text
    assert run.committed == ""


async def test_a_deadline_truncates_what_is_followed() -> None:
    for commit in (None, lambda chunk: None):
        engine = ScriptedGenerator(WORLD, pause=hang_after(10))
        task = WORLD.task()
        task = replace(task, sampling=replace(task.sampling, logprobs=0))
        run, _ = started(limits=Limits(seconds=1.0), generator=engine, commit=commit, task=task)
        candidate = await run.follow(await run.start())
        assert candidate is not None
        assert (len(candidate.text), candidate.finish, candidate.tokens) == (10, "length", 10)
        assert len(candidate.logprobs) == 10
        assert run.stopped == "seconds"
        assert candidate.text == run.committed
        idle(run, engine)


async def test_a_deadline_before_the_first_token_gives_nothing() -> None:
    engine = ScriptedGenerator(WORLD, pause=hang_after(0))
    run, _ = started(limits=Limits(seconds=0.05), generator=engine)
    assert await run.follow(await run.start()) is None
    idle(run, engine)


async def test_a_failure_while_following_is_billed() -> None:
    run, engine = started(generator=ScriptedGenerator(WORLD, fail_after=0), commit=lambda chunk: None)
    with pytest.raises(EngineUnavailable):
        await run.follow(await run.start())
    idle(run, engine)


async def test_cancelling_while_following_is_billed() -> None:
    engine = ScriptedGenerator(WORLD, pause=hang_after(5))
    run, _ = started(generator=engine, commit=lambda chunk: None)
    following = asyncio.create_task(run.follow(await run.start()))
    await until(lambda: len(run.committed) == 5)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    idle(run, engine)
    assert run.usage.completion == 5


# -- committing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "committed"),
    [
        ([[]], ""),
        ([["abc"]], "abc"),
        ([["abc", "abd"]], "ab"),
        ([["abc", "ab"]], "ab"),
        ([["abc", "xyz"]], ""),
        ([["abc", "abd", "ab"], ["abdx", "abdy"]], "abd"),
        ([["ab", "abc"], ["ab", "abc"]], "ab"),
        ([["abc", "abd"], ["ab"]], "ab"),
    ],
)
def test_what_all_branches_share_is_committed(texts: list[list[str]], committed: str) -> None:
    chunks: list[Chunk] = []
    run, _ = started(commit=chunks.append)
    for live in texts:
        run.commit_prefix(live)
    assert run.committed == "".join(c.text for c in chunks) == committed
    assert all(c.text for c in chunks)


def test_nothing_is_committed_for_nobody() -> None:
    run, _ = started()
    run.commit_prefix(["abc"])
    assert run.committed == ""


# -- seeds -------------------------------------------------------------------------------------------------


async def test_a_seed_decides_every_draw() -> None:
    async def texts(seed: int | None) -> list[str]:
        run, _ = started(task=WORLD.task(seed=seed), generator=ScriptedGenerator(WORLD, seed=seed or 0))
        root = await run.start()
        return [c.text for _ in range(3) for c in await run.collect(root, n=3)]

    assert await texts(1) == await texts(1) != await texts(2)
    assert len(set(await texts(1))) > 3, "later draws from one path are new draws"


async def test_seeds_do_not_depend_on_what_was_drawn_elsewhere() -> None:
    one, other = started()[0], started()[0]
    root = await one.start()
    [branch] = await one.collect(root, step="\n")
    [same] = await other.collect(root, step="\n")
    await other.collect(root, n=4)
    assert [c.text for c in await one.collect(branch, n=3)] == [
        c.text for c in await other.collect(same, n=3)
    ]


async def test_without_a_seed_the_engine_gets_none() -> None:
    run, engine = started(task=WORLD.task(seed=None))
    await run.collect(await run.start(), n=2)
    assert engine.seen[0].seed is None


# -- judging -----------------------------------------------------------------------------------------------


async def test_scores_are_recorded() -> None:
    run, _ = started(verifier=ScriptedVerifier.perfect(WORLD))
    found = await run.collect(await run.start(), n=4)
    scores = await run.score(found, "product")
    assert [run.trace.nodes[c.node].score for c in found] == [s.reduce("product") for s in scores]
    assert run.verifier_calls == 1
    assert run.verifier_tokens == sum(len(c.text) for c in found)
    assert run.budget.tokens == run.usage.completion, "verifier tokens are counted apart"


async def test_scoring_without_a_verifier_is_refused() -> None:
    run, _ = started()
    with pytest.raises(InvalidRequest) as refused:
        await run.score(await run.collect(await run.start()))
    assert refused.value.param == "ttc.verifier"


async def test_scoring_nothing_asks_nobody() -> None:
    verifier = ScriptedVerifier.constant()
    run, _ = started(verifier=verifier)
    assert await run.score([]) == []
    assert verifier.calls == 0


async def test_a_deadline_leaves_scores_unknown() -> None:
    verifier = ScriptedVerifier.constant(pause=hang_after(0))
    run, _ = started(verifier=verifier, limits=Limits(seconds=1.0))
    found = await run.collect(await run.start(), n=2)
    assert [s.known for s in await run.score(found)] == [False, False]
    assert run.stopped == "seconds"
    assert verifier.in_flight == 0
    assert [run.trace.nodes[c.node].score for c in found] == [None, None]


class TimesOut:
    name = "remote"
    kind: VerifierKind = "outcome"

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        raise TimeoutError("of its own")


async def test_a_timeout_of_the_verifier_itself_is_not_the_deadline() -> None:
    run, _ = started(verifier=TimesOut(), limits=Limits(seconds=60.0))
    found = await run.collect(await run.start())
    with pytest.raises(TimeoutError, match="of its own"):
        await run.score(found)
    assert run.stopped == "complete"


async def test_only_complete_candidates_have_answers() -> None:
    run, _ = started()
    [whole] = await run.collect(await run.start())
    cut = replace(whole, finish="length")
    [found, nothing] = await run.answers_of([whole, cut])
    assert nothing is None
    assert whole.text.endswith(f"\\boxed{{{found}}}")


async def test_equal_answers_share_a_class() -> None:
    run, _ = started()
    assert await run.group(["1/2", None, "0.5", "2"]) == [0, None, 0, 1]


async def test_grouping_past_the_deadline_still_knows_plain_numbers() -> None:
    run, _ = started(limits=Limits(seconds=0.0))
    assert await run.group(["1/2", r"\sqrt{2}", "0.5", r"\sqrt{2}"]) == [0, 1, 0, 1]
    assert run.stopped == "seconds"


# -- ending ------------------------------------------------------------------------------------------------


def test_a_spent_budget_outweighs_the_strategys_own_reason() -> None:
    run, _ = started()
    assert run.stopped == "complete"
    run.stop("consensus")
    run.stop("boredom")
    assert run.stopped == "consensus"
    run.budget.exhaust("tokens")
    assert run.stopped == "tokens"


async def test_nothing_asked_costs_nothing() -> None:
    run, engine = started()
    await run.start()
    assert (run.usage, run.calls, engine.calls) == (Usage(), 0, 0)
