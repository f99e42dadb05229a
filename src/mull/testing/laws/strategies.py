"""What every strategy has to keep: each law takes a factory of strategies, and a world if not its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from mull.answers import Answers
from mull.budget import Limits
from mull.errors import BudgetTooSmall, EngineUnavailable, InvalidRequest, VerifierUnavailable
from mull.protocols import Strategy
from mull.testing.generator import ScriptedGenerator
from mull.testing.laws.broken import Broken, require
from mull.testing.solving import Trial, solve
from mull.testing.verifier import ScriptedVerifier
from mull.testing.world import World
from mull.types import Answer

Subject = Callable[[], Strategy]
"""Makes the strategy under test."""

WORLD = World()
MESSY = World(rambling=0.2, silent=0.2, broken=0.1)
"""Half of its answers are cut off or cannot be read."""

RAMBLING = World(rambling=0.5)
MUTE = World(silent=0.4, broken=0.3)
EASY = World(depth=2, skill=0.6)

_TOKENS = (1, 5, 20, 50, 100, 300, 1000)
_SAMPLES = (1, 2, 3, 7)
_TURNS = (1, 2, 3, 5, 8, 13, 21, 34, 55)
_ORDERS = (None, 1, 2, 3, 4)
_PATIENCE = 60.0


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
        pause = _Hang(turns)
        engine = ScriptedGenerator(world, order=1, pause=pause)
        trial = Trial(subject(), world, limits=Limits(seconds=0.05), generator=engine)
        await _answer(trial)
        if pause.hung:
            require(trial.run.stopped == "seconds", f"a hanging engine ends the run as {trial.run.stopped!r}")
        _nothing_in_flight(trial)
    verifier = ScriptedVerifier.noisy(world, pause=_Hang(0))
    trial = Trial(subject(), world, limits=Limits(seconds=1.0), verifier=verifier)
    require(await _answer(trial) is not None, "a hanging verifier must not lose the answers there are")
    if verifier.calls:
        require(trial.run.stopped == "seconds", f"a hanging verifier ends the run as {trial.run.stopped!r}")
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
    """An engine that dies ends the run, with what there is or as EngineUnavailable, and all is billed."""
    for calls in range(6):
        trial = Trial(subject(), world, generator=ScriptedGenerator(world, order=4, fail_after=calls))
        try:
            await trial.solve()
        except EngineUnavailable:
            require(trial.generator.calls > calls, "an engine failure was invented")
        except BudgetTooSmall:
            require(trial.run.failure is not None, "an engine failure was taken for a spent budget")
        else:
            told = trial.run.failure is not None and trial.run.budget.exhausted == "engine"
            require(told or trial.generator.calls <= calls, "an engine failure was swallowed")
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
            require(verifier.calls > calls, "a verifier failure was invented")
        else:
            require(verifier.calls <= calls, "a verifier failure was swallowed")
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
            require(found[0] == seen[0][0], f"the finishing order changes the tree under {limits}")
            require(found[1] == seen[0][1], f"the finishing order changes the answer under {limits}")


async def ranks_what_is_cut_off_last(subject: Subject, world: World = RAMBLING) -> None:
    """A truncated candidate never precedes a complete one, has no answer and no vote."""
    for seed in range(8):
        for limits in (None, Limits(tokens=250)):
            answer = await _answer(
                Trial(subject(), world, task=world.task(seed=seed, max_tokens=80), limits=limits)
            )
            if answer is None:
                continue
            complete = [c.candidate.complete for c in answer.choices]
            require(
                complete == sorted(complete, reverse=True), "a truncated candidate precedes a complete one"
            )
            for choice in answer.choices:
                mute = choice.answer is None and not choice.votes
                require(choice.candidate.complete or mute, "a truncated candidate has an answer or votes")


async def abstainers_never_vote(subject: Subject, world: World = MUTE) -> None:
    """What has no readable answer gets none, and no votes."""
    answers = Answers()
    for seed in range(8):
        answer, trial = await solve(subject(), world, task=world.task(seed=seed))
        for choice in answer.choices:
            found = await answers.extract(choice.candidate.text, trial.task.answer)
            require(found is not None or choice.answer is None, "an answer was invented")
            require(choice.answer is not None or not choice.votes, "a candidate without an answer has votes")


async def nobody_votes_twice(subject: Subject, world: World = WORLD) -> None:
    """Each node is one candidate, and no answer has more votes than candidates that gave it."""
    for seed in range(8):
        answer, _ = await solve(subject(), world, task=world.task(seed=seed))
        nodes = Counter(c.candidate.node for c in answer.choices)
        require(max(nodes.values()) == 1, "one candidate is returned twice")
        voters = Counter(c.answer for c in answer.choices)
        for choice in answer.choices:
            votes = choice.votes or 0.0
            require(
                votes <= voters[choice.answer] + 1e-9,
                f"{voters[choice.answer]} candidates cast {votes} votes",
            )


async def a_spent_budget_gives_the_best_so_far(subject: Subject, world: World = WORLD) -> None:
    """Less than it would spend freely changes nothing or is flagged; an error only without any text."""
    free = Trial(subject(), world)
    await free.solve()
    spent = free.run.budget
    tokens = {1, spent.tokens // 10, spent.tokens // 3, spent.tokens // 2, spent.tokens - 1, spent.tokens}
    samples = {1, spent.samples // 2, spent.samples - 1, spent.samples}
    cases = [Limits(tokens=t) for t in tokens if t > 0] + [Limits(samples=s) for s in samples if s > 0]
    for limits in cases:
        trial = Trial(subject(), world, limits=limits)
        answer = await _answer(trial)
        require(answer is not None, f"{limits} is an error although there is text")
        if trial.tree != free.tree:
            require(trial.run.stopped != "complete", f"{limits} changed the search and is not flagged")
        if limits in (Limits(tokens=spent.tokens), Limits(samples=spent.samples)):
            require(trial.tree == free.tree, f"{limits} is what it spends freely, yet it changes the search")


async def committed_text_begins_the_answer(subject: Subject, world: World = MESSY) -> None:
    """What was streamed while searching is a prefix of what is returned."""
    for seed in range(8):
        for limits in (None, Limits(tokens=150)):
            trial = Trial(subject(), world, task=world.task(seed=seed), limits=limits, commits=True)
            answer = await _answer(trial)
            told = "".join(c.text for c in trial.chunks)
            require(told == trial.run.committed, "not all that is committed was told")
            if answer is not None:
                require(answer.best.candidate.text.startswith(told), "the answer does not begin as committed")


async def a_perfect_verifier_never_hurts(subject: Subject, world: World = EASY) -> None:
    """If any candidate is right and the verifier has been asked about it, a right one is returned."""
    for seed in range(12):
        verifier = ScriptedVerifier.perfect(world)
        answer, trial = await solve(subject(), world, task=world.task(seed=seed), verifier=verifier)
        nodes = trial.run.trace.nodes
        judged = [c for c in answer.choices if nodes[c.candidate.node].score is not None]
        if verifier.calls and any(c.answer == world.reference for c in judged):
            require(
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
        produced = any(node.text and node.tokens for node in trial.run.trace.nodes)
        require(not produced, f"refused although there is text: {refused}")
        require(trial.run.budget.exhausted is not None, f"refused without a spent budget: {refused}")
        return None
    except TimeoutError:
        raise Broken("the strategy hangs") from None


async def _cancel_after(trial: Trial, turns: int) -> None:
    solving = asyncio.create_task(trial.solve())
    for _ in range(turns):
        await asyncio.sleep(0)
    solving.cancel()
    await asyncio.gather(solving, return_exceptions=True)
    require(solving.cancelled() or turns > 1, "a cancelled strategy goes on")


class _Hang:
    """A pause that lasts for ever once it has been asked for so many times."""

    def __init__(self, turns: int) -> None:
        self._left = turns
        self.hung = False

    async def __call__(self) -> None:
        self._left -= 1
        self.hung = self._left < 0
        await (asyncio.get_running_loop().create_future() if self.hung else asyncio.sleep(0))


def _within(trial: Trial, limits: Limits) -> None:
    budget = trial.run.budget
    if limits.tokens is not None:
        spent = max(budget.tokens, trial.generator.usage.completion)
        require(spent <= limits.tokens, f"spent {spent} of {limits.tokens} tokens")
    if limits.samples is not None:
        require(trial.run.calls <= limits.samples, f"started {trial.run.calls} of {limits.samples} samples")
    require(budget.reserved == 0, f"{budget.reserved} tokens stay reserved")


def _nothing_in_flight(trial: Trial) -> None:
    require(trial.generator.in_flight == 0, f"{trial.generator.in_flight} generations go on")
    if isinstance(trial.verifier, ScriptedVerifier):
        require(trial.verifier.in_flight == 0, "the verifier goes on")
    require(trial.run.budget.reserved == 0, f"{trial.run.budget.reserved} tokens stay reserved")


def _accounts_agree(trial: Trial) -> None:
    nodes = trial.run.trace.nodes
    require(all(0 <= (n.parent or 0) < n.id for n in nodes[1:]), "a node comes before its parent")
    accounts = {
        "nodes": sum(n.tokens for n in nodes),
        "budget": trial.run.budget.tokens,
        "usage": trial.run.usage.completion,
        "engine": trial.generator.usage.completion,
    }
    require(len(set(accounts.values())) == 1, f"tokens do not add up: {accounts}")
    require(trial.run.usage == trial.generator.usage, "prompt tokens do not add up")


def _summary(answer: Answer) -> list[tuple[object, ...]]:
    return [(c.candidate.text, c.candidate.finish, c.answer, c.score, c.votes) for c in answer.choices]
