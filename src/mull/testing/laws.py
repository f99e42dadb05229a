"""What every strategy, generator and verifier has to keep, as checks that anyone can run on their own.

A law is an async function that raises `Broken` with the reason. Laws of strategies take a factory (and a
world, if another than theirs is wanted), laws of generators a generator and a chat, laws of verifiers a
verifier, a task and candidates. The laws of generators and verifiers are for real ones too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from mull.answers import Answers
from mull.budget import Limits
from mull.errors import EngineUnavailable, InvalidRequest, VerifierUnavailable
from mull.protocols import Generator, Strategy, Verifier
from mull.testing.generator import ScriptedGenerator
from mull.testing.solving import Trial, solve
from mull.testing.verifier import ScriptedVerifier
from mull.testing.world import World
from mull.types import Answer, Candidate, Chat, Completion, Meter, Sampling, Score, Task

Subject = Callable[[], Strategy]
"""Makes the strategy under test."""

WORLD = World()
MESSY = World(rambling=0.2, silent=0.2, broken=0.1)
"""Half of its answers are cut off or cannot be read."""

_TOKENS = (1, 5, 20, 50, 100, 300, 1000)
_SAMPLES = (1, 2, 3, 7)
_TURNS = (1, 2, 3, 5, 8, 13, 21, 34, 55)
_ORDERS = (None, 1, 2, 3, 4)
_PATIENCE = 60.0


class Broken(AssertionError):
    """A law does not hold."""


def _require(holds: bool, law: str) -> None:
    if not holds:
        raise Broken(law)


# -- strategies --------------------------------------------------------------------------------------------


async def never_overspends(subject: Subject, world: World = WORLD) -> None:
    """No budget of tokens or samples is ever exceeded, and everything reserved is settled."""
    for limits in (*(Limits(tokens=t) for t in _TOKENS), *(Limits(samples=s) for s in _SAMPLES)):
        trial = Trial(subject(), world, limits=limits, generator=ScriptedGenerator(world, order=1))
        await _answer(trial)
        _within(trial, limits)


async def never_overspends_when_cancelled(subject: Subject, world: World = WORLD) -> None:
    """The same, whenever the request is cancelled."""
    for limits in (Limits(tokens=100), Limits(samples=3)):
        for turns in _TURNS:
            trial = Trial(subject(), world, limits=limits, generator=ScriptedGenerator(world, order=1))
            await _cancel_after(trial, turns)
            _within(trial, limits)


async def ends_at_the_deadline(subject: Subject, world: World = WORLD) -> None:
    """An engine or a verifier that hangs costs the seconds allowed; what there is by then comes back."""
    for turns in (0, 2, 6, 12, 30):
        engine = ScriptedGenerator(world, order=1, pause=_hang_after(turns))
        trial = Trial(subject(), world, limits=Limits(seconds=0.05), generator=engine)
        await _answer(trial)
        _require(trial.run.stopped == "seconds", f"a hanging engine ends the run as {trial.run.stopped!r}")
        _nothing_in_flight(trial)
    verifier = ScriptedVerifier.noisy(world, pause=_hang_after(0))
    trial = Trial(subject(), world, limits=Limits(seconds=0.05), verifier=verifier)
    _require(await _answer(trial) is not None, "a hanging verifier must not lose the answers there are")
    if verifier.calls:
        _require(trial.run.stopped == "seconds", f"a hanging verifier ends the run as {trial.run.stopped!r}")
    _nothing_in_flight(trial)


async def traces_every_generation(subject: Subject, world: World = MESSY) -> None:
    """The tokens of the nodes are those of the budget, of the usage and of the engine, however it ends."""
    for limits in (None, Limits(tokens=100), Limits(samples=3)):
        trial = Trial(subject(), world, limits=limits, generator=ScriptedGenerator(world, order=2))
        await _answer(trial)
        _accounts_agree(trial)
        for turns in _TURNS:
            trial = Trial(subject(), world, limits=limits, generator=ScriptedGenerator(world, order=2))
            await _cancel_after(trial, turns)
            _accounts_agree(trial)


async def cancelling_leaves_nothing_in_flight(subject: Subject, world: World = WORLD) -> None:
    """After a cancelled request neither the engine nor the verifier works on."""
    for turns in _TURNS:
        for commits in (False, True):
            trial = Trial(subject(), world, generator=ScriptedGenerator(world, order=3), commits=commits)
            await _cancel_after(trial, turns)
            _nothing_in_flight(trial)


async def reports_a_failing_engine(subject: Subject, world: World = WORLD) -> None:
    """An engine that dies surfaces as EngineUnavailable, its siblings stopped, what they spent billed."""
    for calls in range(6):
        trial = Trial(subject(), world, generator=ScriptedGenerator(world, order=4, fail_after=calls))
        try:
            await trial.solve()
        except EngineUnavailable:
            _require(trial.generator.calls > calls, "an engine failure was invented")
        else:
            _require(trial.generator.calls <= calls, "an engine failure was swallowed")
        _nothing_in_flight(trial)
        _accounts_agree(trial)


async def reports_a_failing_verifier(subject: Subject, world: World = WORLD) -> None:
    """A verifier that dies surfaces as VerifierUnavailable."""
    for calls in range(3):
        verifier = ScriptedVerifier.noisy(world, fail_after=calls)
        trial = Trial(subject(), world, verifier=verifier)
        try:
            await trial.solve()
        except VerifierUnavailable:
            _require(verifier.calls > calls, "a verifier failure was invented")
        else:
            _require(verifier.calls <= calls, "a verifier failure was swallowed")
        _nothing_in_flight(trial)
        _accounts_agree(trial)


async def same_seed_same_tree(subject: Subject, world: World = MESSY) -> None:
    """With a seed, neither tree nor answer depends on the order in which samples finish."""
    for limits in (None, Limits(tokens=250), Limits(tokens=90), Limits(samples=5)):
        seen: list[tuple[Any, Any]] = []
        for order in _ORDERS:
            trial = Trial(subject(), world, limits=limits, generator=ScriptedGenerator(world, order=order))
            answer = await _answer(trial)
            seen.append((trial.tree, answer and _summary(answer)))
        for found in seen[1:]:
            _require(found[0] == seen[0][0], f"the finishing order changes the tree under {limits}")
            _require(found[1] == seen[0][1], f"the finishing order changes the answer under {limits}")


async def ranks_what_is_cut_off_last(subject: Subject, world: World = World(rambling=0.5)) -> None:
    """A truncated candidate never precedes a complete one, has no answer and no vote."""
    for seed in range(8):
        for limits in (None, Limits(tokens=250)):
            answer = await _answer(
                Trial(subject(), world, task=world.task(seed=seed, max_tokens=80), limits=limits)
            )
            if answer is None:
                continue
            complete = [c.candidate.complete for c in answer.choices]
            _require(
                complete == sorted(complete, reverse=True), "a truncated candidate precedes a complete one"
            )
            for choice in answer.choices:
                mute = choice.answer is None and not choice.votes
                _require(choice.candidate.complete or mute, "a truncated candidate has an answer or votes")


async def abstainers_never_vote(subject: Subject, world: World = World(silent=0.4, broken=0.3)) -> None:
    """What has no readable answer gets none, and no votes."""
    answers = Answers()
    for seed in range(8):
        answer, trial = await solve(subject(), world, task=world.task(seed=seed))
        for choice in answer.choices:
            found = await answers.extract(choice.candidate.text, trial.task.answer)
            _require(found is not None or choice.answer is None, "an answer was invented")
            _require(choice.answer is not None or not choice.votes, "a candidate without an answer has votes")


async def nobody_votes_twice(subject: Subject, world: World = WORLD) -> None:
    """Each node is one candidate, and no answer has more votes than candidates that gave it."""
    for seed in range(8):
        answer, _ = await solve(subject(), world, task=world.task(seed=seed))
        nodes = Counter(c.candidate.node for c in answer.choices)
        _require(max(nodes.values()) == 1, "one candidate is returned twice")
        voters = Counter(c.answer for c in answer.choices)
        for choice in answer.choices:
            votes = choice.votes or 0.0
            _require(
                votes <= voters[choice.answer] + 1e-9,
                f"{voters[choice.answer]} candidates cast {votes} votes",
            )


async def a_spent_budget_gives_the_best_so_far(subject: Subject, world: World = WORLD) -> None:
    """Less than it would spend freely either changes nothing or is flagged; an error only without any text."""
    free = Trial(subject(), world)
    await free.solve()
    spent = free.run.budget
    tokens = {1, spent.tokens // 10, spent.tokens // 3, spent.tokens // 2, spent.tokens - 1, spent.tokens}
    samples = {1, spent.samples // 2, spent.samples - 1, spent.samples}
    cases = [Limits(tokens=t) for t in tokens if t > 0] + [Limits(samples=s) for s in samples if s > 0]
    for limits in cases:
        trial = Trial(subject(), world, limits=limits)
        answer = await _answer(trial)
        _require(answer is not None, f"{limits} is an error although there is text")
        if trial.tree != free.tree:
            _require(trial.run.stopped != "complete", f"{limits} changed the search and is not flagged")
        if limits in (Limits(tokens=spent.tokens), Limits(samples=spent.samples)):
            _require(trial.tree == free.tree, f"{limits} is what it spends freely, yet it changes the search")


async def committed_text_begins_the_answer(subject: Subject, world: World = MESSY) -> None:
    """What was streamed while searching is a prefix of what is returned."""
    for seed in range(8):
        for limits in (None, Limits(tokens=150)):
            trial = Trial(subject(), world, task=world.task(seed=seed), limits=limits, commits=True)
            answer = await _answer(trial)
            told = "".join(c.text for c in trial.chunks)
            _require(told == trial.run.committed, "not all that is committed was told")
            if answer is not None:
                _require(
                    answer.best.candidate.text.startswith(told), "the answer does not begin as committed"
                )


async def a_perfect_verifier_never_hurts(subject: Subject, world: World = World(depth=2, skill=0.6)) -> None:
    """If any candidate is right and the verifier knows it, a strategy that asks it returns a right one."""
    for seed in range(12):
        verifier = ScriptedVerifier.perfect(world)
        answer, trial = await solve(subject(), world, task=world.task(seed=seed), verifier=verifier)
        if verifier.calls and any(c.answer == world.reference for c in answer.choices):
            _require(
                answer.best.answer == world.reference,
                f"a right answer lost (seed {trial.task.sampling.seed})",
            )


STRATEGY_LAWS: tuple[Callable[[Subject], Awaitable[None]], ...] = (
    never_overspends,
    never_overspends_when_cancelled,
    ends_at_the_deadline,
    traces_every_generation,
    cancelling_leaves_nothing_in_flight,
    reports_a_failing_engine,
    reports_a_failing_verifier,
    same_seed_same_tree,
    ranks_what_is_cut_off_last,
    abstainers_never_vote,
    nobody_votes_twice,
    a_spent_budget_gives_the_best_so_far,
    committed_text_begins_the_answer,
    a_perfect_verifier_never_hurts,
)


async def _answer(trial: Trial) -> Answer | None:
    """The answer; None where the budget did not allow any text, the only reason for an error."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await trial.solve()
    except InvalidRequest as refused:
        produced = any(node.text for node in trial.run.trace.nodes)
        _require(not produced, f"refused although there is text: {refused}")
        _require(trial.run.budget.exhausted is not None, f"refused without a spent budget: {refused}")
        return None
    except TimeoutError:
        raise Broken("the strategy hangs") from None


async def _cancel_after(trial: Trial, turns: int) -> None:
    solving = asyncio.create_task(trial.solve())
    for _ in range(turns):
        await asyncio.sleep(0)
    solving.cancel()
    await asyncio.gather(solving, return_exceptions=True)
    _require(solving.cancelled() or turns > 1, "a cancelled strategy goes on")


def _hang_after(turns: int) -> Callable[[], Awaitable[None]]:
    """A pause that lasts for ever once it has been asked for so many times."""
    left = turns

    async def pause() -> None:
        nonlocal left
        left -= 1
        await (asyncio.sleep(0) if left >= 0 else asyncio.get_running_loop().create_future())

    return pause


def _within(trial: Trial, limits: Limits) -> None:
    budget = trial.run.budget
    if limits.tokens is not None:
        spent = max(budget.tokens, trial.generator.usage.completion)
        _require(spent <= limits.tokens, f"spent {spent} of {limits.tokens} tokens")
    if limits.samples is not None:
        _require(trial.run.calls <= limits.samples, f"started {trial.run.calls} of {limits.samples} samples")
    _require(budget.reserved == 0, f"{budget.reserved} tokens stay reserved")


def _nothing_in_flight(trial: Trial) -> None:
    _require(trial.generator.in_flight == 0, f"{trial.generator.in_flight} generations go on")
    if isinstance(trial.verifier, ScriptedVerifier):
        _require(trial.verifier.in_flight == 0, "the verifier goes on")
    _require(trial.run.budget.reserved == 0, f"{trial.run.budget.reserved} tokens stay reserved")


def _accounts_agree(trial: Trial) -> None:
    nodes = trial.run.trace.nodes
    _require(all(0 <= (n.parent or 0) < n.id for n in nodes[1:]), "a node comes before its parent")
    accounts = {
        "nodes": sum(n.tokens for n in nodes),
        "budget": trial.run.budget.tokens,
        "usage": trial.run.usage.completion,
        "engine": trial.generator.usage.completion,
    }
    _require(len(set(accounts.values())) == 1, f"tokens do not add up: {accounts}")
    _require(trial.run.usage == trial.generator.usage, "prompt tokens do not add up")


def _summary(answer: Answer) -> list[tuple[object, ...]]:
    return [(c.candidate.text, c.candidate.finish, c.answer, c.score, c.votes) for c in answer.choices]


# -- generators --------------------------------------------------------------------------------------------


async def results_are_numbered_and_metered(generator: Generator, chat: Chat) -> None:
    """`n` results with indices 0 to n-1, as long as allowed at most, each request metered once."""
    meter, limit = Meter(), 12
    prompt = await generator.render(chat)
    found = await _collect(generator, prompt, Sampling(max_tokens=limit, temperature=1.0), n=4, meter=meter)
    _require(sorted(c.index for c in found) == [0, 1, 2, 3], "results are not numbered 0 to n-1")
    _require(
        all(0 < c.usage.completion <= limit for c in found), "a result is longer than max_tokens, or empty"
    )
    _require(
        all(c.finish in ("stop", "length") for c in found), "a result ends in a step that nobody asked for"
    )
    full = all(c.usage.completion == limit for c in found if c.finish == "length")
    _require(full, "a result is cut off before max_tokens")
    _require(all(not c.ids or len(c.ids) == c.usage.completion for c in found), "ids and usage disagree")
    _require(meter.calls == 4, f"4 requests were metered {meter.calls} times")
    _require(meter.usage.completion == sum(c.usage.completion for c in found), "meter and usage disagree")


async def closing_aborts(generator: Generator, chat: Chat) -> None:
    """Closing the iterator ends it promptly; what was generated by then is metered, once a request."""
    prompt = await generator.render(chat)
    sampling = Sampling(max_tokens=generator.context - len(prompt.ids or ()) - 1, temperature=1.0)
    meter, first = Meter(), None
    async with aclosing(generator.sample(prompt, sampling, n=6, meter=meter)) as results:
        async for first in results:
            break
    _require(first is not None, "no result")
    _require(meter.calls == 6, f"6 requests were metered {meter.calls} times")
    meter = Meter()
    async with aclosing(generator.stream(prompt, sampling, meter=meter)) as chunks:
        async for _ in chunks:
            break
    _require(meter.calls == 1, f"an abandoned stream was metered {meter.calls} times")
    waiting = asyncio.create_task(_collect(generator, prompt, sampling, n=3, meter=(meter := Meter())))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    _require(meter.calls in (0, 3), f"3 cancelled requests were metered {meter.calls} times")


async def seeds_decide(generator: Generator, chat: Chat) -> None:
    """Sample `i` with seed `s` is sample 0 with seed `s + i`, again and again."""
    prompt = await generator.render(chat)
    sampling = Sampling(max_tokens=24, temperature=1.0, seed=7)
    texts = [[c.text for c in await _collect(generator, prompt, sampling, n=3)] for _ in range(2)]
    _require(texts[0] == texts[1], "the same seed gives other samples")
    [alone] = await _collect(generator, prompt, replace(sampling, seed=8))
    _require(alone.text == texts[0][1], "sample 1 with seed s is not sample 0 with seed s + 1")


async def steps_end_in_the_delimiter(generator: Generator, chat: Chat, delimiter: str = "\n") -> None:
    """A step ends in its delimiter, holds no other, and is continued where it ended."""
    candidate = await generator.render(chat)
    sampling = Sampling(max_tokens=64, temperature=1.0, step=delimiter, seed=3)
    for _ in range(4):
        [step] = await _collect(generator, candidate, sampling)
        body = step.text.removesuffix(delimiter) if step.finish == "step" else step.text
        _require(
            step.finish != "step" or step.text.endswith(delimiter), "a step does not end in its delimiter"
        )
        _require(delimiter not in body, "a step runs past its delimiter")
        grown = candidate.extend(step)
        _require(grown.text == candidate.text + step.text, "extending a prompt loses text")
        if candidate.ids is not None:
            _require(grown.ids == candidate.ids + step.ids, "extending a prompt changes token ids")
        candidate = grown
        if step.finish != "step":
            break


async def continuing_changes_nothing(generator: Generator, chat: Chat) -> None:
    """At temperature 0, an answer cut off and continued is the answer in one piece."""
    if not generator.continues:
        return
    prompt = await generator.render(chat)
    sampling = Sampling(max_tokens=40, temperature=0.0)
    [whole] = await _collect(generator, prompt, sampling)
    for cut in (1, 7, 20):
        if cut < whole.usage.completion:
            [head] = await _collect(generator, prompt, replace(sampling, max_tokens=cut))
            [tail] = await _collect(generator, prompt.extend(head), replace(sampling, max_tokens=40 - cut))
            _require(head.text + tail.text == whole.text, f"cut after {cut} tokens, the answer changes")
            _require(head.ids + tail.ids == whole.ids, f"cut after {cut} tokens, the token ids change")


async def streaming_changes_nothing(generator: Generator, chat: Chat) -> None:
    """A stream's chunks are the text of its last one's completion, which is that of `sample`."""
    prompt = await generator.render(chat)
    sampling = Sampling(max_tokens=32, temperature=1.0, seed=11)
    [sampled] = await _collect(generator, prompt, sampling)
    text, last, meter = "", None, Meter()
    async with aclosing(generator.stream(prompt, sampling, meter=meter)) as chunks:
        async for chunk in chunks:
            _require(last is None, "a chunk follows the last one")
            text, last = text + chunk.text, chunk.completion
    _require(last is not None, "the last chunk has no completion")
    assert last is not None
    _require(text == last.text == sampled.text, "streamed and sampled text differ")
    _require(last.finish == sampled.finish, "streamed and sampled finish differ")
    _require(meter.calls == 1, f"a stream was metered {meter.calls} times")
    _require(meter.usage.completion == last.usage.completion, "meter and usage disagree")


async def stop_strings_end_the_answer(generator: Generator, chat: Chat) -> None:
    """A stop string ends the answer and is not part of it, streamed or not."""
    prompt = await generator.render(chat)
    sampling = Sampling(max_tokens=32, temperature=0.0)
    [whole] = await _collect(generator, prompt, sampling)
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 3]
    if not stop.strip():
        return
    [cut] = await _collect(generator, prompt, replace(sampling, stop=(stop,)))
    _require(cut.finish == "stop", f"a stop string ends an answer as {cut.finish!r}")
    _require(
        cut.text == whole.text[: whole.text.index(stop)], "the answer does not end before the stop string"
    )
    text = ""
    async with aclosing(generator.stream(prompt, replace(sampling, stop=(stop,)))) as chunks:
        async for chunk in chunks:
            text += chunk.text
    _require(text == cut.text, "a stop string, or part of it, is streamed")


GENERATOR_LAWS: tuple[Callable[[Generator, Chat], Awaitable[None]], ...] = (
    results_are_numbered_and_metered,
    closing_aborts,
    seeds_decide,
    steps_end_in_the_delimiter,
    continuing_changes_nothing,
    streaming_changes_nothing,
    stop_strings_end_the_answer,
)


async def _collect(
    generator: Generator, prompt: Any, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
) -> list[Completion]:
    async with aclosing(generator.sample(prompt, sampling, n=n, meter=meter)) as results:
        return sorted([c async for c in results], key=lambda c: c.index)


# -- verifiers ---------------------------------------------------------------------------------------------


async def a_batch_equals_its_members(
    verifier: Verifier, task: Task, candidates: Sequence[Candidate], tolerance: float = 1e-4
) -> None:
    """Scores do not depend on what else is in the batch, on its order, or on who asks at the same time."""
    together = await verifier.score(task, candidates)
    _require(len(together) == len(candidates), f"{len(together)} scores for {len(candidates)} candidates")
    singles = [s for c in candidates for s in await verifier.score(task, [c])]
    backwards = (await verifier.score(task, candidates[::-1]))[::-1]
    at_once = [s for [s] in await asyncio.gather(*(verifier.score(task, [c]) for c in candidates))]
    for way, others in (("alone", singles), ("in reverse", backwards), ("concurrently", at_once)):
        for one, other in zip(together, others, strict=True):
            _require(_close(_values(one), _values(other), tolerance), f"scored {way}, {one} becomes {other}")
    _require(await verifier.score(task, []) == [], "an empty batch has scores")


async def scores_are_probabilities(verifier: Verifier, task: Task, candidates: Sequence[Candidate]) -> None:
    """Scores lie in [0, 1]; a process verifier gives one a step, an outcome verifier none."""
    for candidate, score in zip(candidates, await verifier.score(task, candidates), strict=True):
        _require(all(0 <= v <= 1 for v in _values(score)), f"{score} is no probability")
        _require(score.tokens >= 0, "negative tokens")
        if verifier.kind == "outcome":
            _require(not score.steps, "an outcome verifier gives step scores")
        elif candidate.text:
            _require(len(score.steps) > 0, "a process verifier gives no step scores")


VERIFIER_LAWS: tuple[Callable[[Verifier, Task, Sequence[Candidate]], Awaitable[None]], ...] = (
    a_batch_equals_its_members,
    scores_are_probabilities,
)


def _values(score: Score) -> tuple[float, ...]:
    return (score.value, *score.steps)


def _close(a: Iterable[float], b: Iterable[float], tolerance: float) -> bool:
    first, second = list(a), list(b)
    return len(first) == len(second) and all(
        abs(x - y) <= tolerance for x, y in zip(first, second, strict=True)
    )
