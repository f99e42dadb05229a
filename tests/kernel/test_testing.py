"""The scripted parts keep the laws, and each law catches what breaks it."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

import pytest

from mull.errors import EngineUnavailable, InvalidRequest, VerifierUnavailable
from mull.protocols import Generator, Strategy, Verifier
from mull.run import Run
from mull.testing import (
    GENERATOR_LAWS,
    STRATEGY_LAWS,
    VERIFIER_LAWS,
    Broken,
    ScriptedGenerator,
    ScriptedVerifier,
    World,
    decode,
    encode,
    solve,
)
from mull.testing.laws import strategies as strategy_laws
from mull.types import (
    Answer,
    Candidate,
    Chat,
    Choice,
    Chunk,
    Completion,
    Meter,
    Prompt,
    Sampling,
    Score,
    Task,
    Usage,
    VerifierKind,
)

WORLD = World()
CHAT = WORLD.task().chat


# -- the scripted parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", GENERATOR_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(
    "options",
    [{}, {"order": 1}, {"continues": False}, {"context": 120}],
    ids=["plain", "order", "chat", "short"],
)
async def test_the_generator_keeps_the_laws(
    law: Callable[[Generator, Chat], Awaitable[None]], options: dict[str, int]
) -> None:
    await law(ScriptedGenerator(World(depth=6), **options), CHAT)  # type: ignore[arg-type]


async def _candidates(world: World, task: Task) -> list[Candidate]:
    """Partial, complete and truncated answers."""
    _, trial = await solve(_Sampler(n=6), world, task=task)
    root = await trial.run.start()
    steps = [c for [c] in await trial.run.expand([root] * 3, n=1, step="\n")]
    cut = [replace(c, finish="length") for c in steps[:1]]
    return [*await trial.run.collect(root, n=6), *steps, *cut]


@pytest.mark.parametrize("law", VERIFIER_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", ["outcome", "process"])
@pytest.mark.parametrize("make", ["perfect", "noisy", "constant", "random"])
async def test_the_verifiers_keep_the_laws(
    law: Callable[[Verifier, Task, Sequence[Candidate]], Awaitable[None]], kind: VerifierKind, make: str
) -> None:
    world = World(silent=0.3)
    makers: dict[str, ScriptedVerifier] = {
        "perfect": ScriptedVerifier.perfect(world, kind=kind),
        "noisy": ScriptedVerifier.noisy(world, kind=kind),
        "constant": ScriptedVerifier.constant(kind=kind),
        "random": ScriptedVerifier.random(kind=kind),
    }
    task = world.task()
    await law(makers[make], task, await _candidates(world, task))


def test_text_and_ids_round_trip() -> None:
    assert decode(encode("take 1\n\\boxed{é}")) == "take 1\n\\boxed{é}"


async def test_a_world_is_as_hard_as_it_says() -> None:
    world = World(depth=2, branches=3, skill=0.6, silent=0.1)
    answer, _ = await solve(_Sampler(n=400), world)
    right = sum(c.answer == world.reference for c in answer.choices) / 400
    assert world.p_right == pytest.approx(0.324)
    assert abs(right - world.p_right) < 4 * (world.p_right * (1 - world.p_right) / 400) ** 0.5


async def test_greedy_takes_the_most_likely_path() -> None:
    for skill, expected in ((0.5, "111"), (0.2, "000")):
        world = World(skill=skill)
        answer, _ = await solve(_Sampler(n=1), world, task=world.task(temperature=0.0))
        assert answer.best.answer == expected


async def test_the_order_permutes_arrivals_only() -> None:
    prompt = await ScriptedGenerator(WORLD).render(CHAT)
    sampling = Sampling(seed=1, temperature=1.0)
    arrivals, texts = set(), set()
    for order in (None, 1, 2, 3, 4, 5):
        generator = ScriptedGenerator(WORLD, order=order)
        async with aclosing(generator.sample(prompt, sampling, n=5)) as results:
            found = [c async for c in results]
        arrivals.add(tuple(c.index for c in found))
        texts.add(tuple(c.text for c in sorted(found, key=lambda c: c.index)))
    assert len(arrivals) > 3
    assert len(texts) == 1


async def test_without_a_seed_its_own_decides() -> None:
    async def texts(seed: int) -> list[str]:
        generator = ScriptedGenerator(WORLD, seed=seed)
        prompt = await generator.render(CHAT)
        return [c.text for _ in range(5) async for c in generator.sample(prompt, Sampling(temperature=1.0))]

    assert await texts(1) == await texts(1) != await texts(2)
    assert len(set(await texts(1))) > 1


async def test_shared_prefixes_are_cached() -> None:
    generator = ScriptedGenerator(WORLD)
    prompt = await generator.render(CHAT)
    [first] = [c async for c in generator.sample(prompt, Sampling(seed=1, step="\n"))]
    [again] = [c async for c in generator.sample(prompt.extend(first), Sampling(seed=1, step="\n"))]
    assert first.usage.cached == 0
    assert 0 < again.usage.cached < again.usage.prompt == first.usage.prompt + first.usage.completion
    assert again.usage.cached % 16 == 0


async def test_disagreeing_ids_and_text_are_noticed() -> None:
    generator = ScriptedGenerator(WORLD)
    prompt = await generator.render(CHAT)
    with pytest.raises(ValueError, match="disagree"):
        await anext(generator.sample(replace(prompt, text="other"), Sampling()))


async def test_a_prompt_beyond_the_context_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="context 10"):
        await ScriptedGenerator(WORLD, context=10).render(CHAT)


async def test_logprobs_cover_every_token() -> None:
    generator = ScriptedGenerator(WORLD)
    prompt = await generator.render(CHAT)
    [c] = [c async for c in generator.sample(prompt, Sampling(seed=1, logprobs=2))]
    assert [p.id for p in c.logprobs] == list(c.ids)
    assert all(len(p.top) == 2 for p in c.logprobs)


def test_importing_needs_no_test_framework() -> None:
    code = "import sys, mull.testing; print({'pytest', 'hypothesis', 'torch', 'sympy'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


# -- strategies that break a law ---------------------------------------------------------------------------


class _Sampler:
    """Samples and votes as it should; the mutants below each spoil one thing."""

    def __init__(self, n: int = 5) -> None:
        self.n = n

    async def __call__(self, task: Task, run: Run) -> Answer:
        return await self.rank(run, await run.collect(await run.start(), n=self.n))

    async def rank(self, run: Run, candidates: list[Candidate]) -> Answer:
        if not candidates:
            raise InvalidRequest("nothing", param="ttc.budget", code="budget_exhausted")
        answers = await run.answers_of(candidates)
        groups = await run.group(answers)
        choices = [
            Choice(candidate=c, answer=a, votes=None if g is None else float(groups.count(g)))
            for c, a, g in zip(candidates, answers, groups, strict=True)
        ]
        return Answer(
            choices=tuple(sorted(choices, key=lambda c: (not c.candidate.complete, -(c.votes or 0))))
        )


class _SpendsOutside(_Sampler):
    async def __call__(self, task: Task, run: Run) -> Answer:
        root = await run.start()
        found = [c async for c in run._generator.sample(root.prompt, task.sampling)]
        assert found
        return await super().__call__(task, run)


class _Hangs(_Sampler):
    async def __call__(self, task: Task, run: Run) -> Answer:
        answer = await super().__call__(task, run)
        if run.budget.exhausted == "seconds":
            await asyncio.Event().wait()
        return answer


class _LeavesWorkBehind(_Sampler):
    kept: set[asyncio.Task[object]] = set()  # noqa: RUF012

    async def __call__(self, task: Task, run: Run) -> Answer:
        self.kept.add(asyncio.create_task(super().__call__(task, run)))
        await asyncio.Event().wait()
        raise AssertionError


class _SwallowsEngineFailures(_Sampler):
    async def __call__(self, task: Task, run: Run) -> Answer:
        try:
            return await super().__call__(task, run)
        except EngineUnavailable:
            return Answer(choices=(Choice(candidate=await run.start()),))


class _SwallowsVerifierFailures(_Sampler):
    async def rank(self, run: Run, candidates: list[Candidate]) -> Answer:
        with suppress(VerifierUnavailable):
            await run.score(candidates)
        return await super().rank(run, candidates)


class _FirstComeFirstServed(_Sampler):
    async def __call__(self, task: Task, run: Run) -> Answer:
        async with aclosing(run.sample(await run.start(), n=self.n)) as samples:
            return await self.rank(run, [c async for c in samples])


class _RanksCutOffFirst(_Sampler):
    async def rank(self, run: Run, candidates: list[Candidate]) -> Answer:
        answer = await super().rank(run, candidates)
        return Answer(choices=answer.choices[::-1])


class _InventsAnswers(_Sampler):
    async def rank(self, run: Run, candidates: list[Candidate]) -> Answer:
        answer = await super().rank(run, candidates)
        return Answer(choices=tuple(replace(c, answer=c.answer or "none", votes=1.0) for c in answer.choices))


class _VotesTwice(_Sampler):
    async def rank(self, run: Run, candidates: list[Candidate]) -> Answer:
        return await super().rank(run, candidates * 2)


class _WeighsTwice(_Sampler):
    async def rank(self, run: Run, candidates: list[Candidate]) -> Answer:
        answer = await super().rank(run, candidates)
        return Answer(choices=tuple(replace(c, votes=2 * (c.votes or 0)) for c in answer.choices))


class _FailsOnASpentBudget(_Sampler):
    async def rank(self, run: Run, candidates: list[Candidate]) -> Answer:
        if run.budget.exhausted:
            raise InvalidRequest("budget", param="ttc.budget", code="budget_exhausted")
        return await super().rank(run, candidates)


class _SavesQuietly(_Sampler):
    async def __call__(self, task: Task, run: Run) -> Answer:
        n = self.n if run.budget.limits.tokens is None else 1
        return await self.rank(run, await run.collect(await run.start(), n=n))


class _CommitsAnything(_Sampler):
    async def __call__(self, task: Task, run: Run) -> Answer:
        run.commit(Chunk(text="As I see it, "))
        return await super().__call__(task, run)


class _PrefersTheWorst(_Sampler):
    async def rank(self, run: Run, candidates: list[Candidate]) -> Answer:
        answer = await super().rank(run, candidates)
        scores = await run.score([c.candidate for c in answer.choices])
        ranked = sorted(zip(answer.choices, scores, strict=True), key=lambda pair: pair[1].value)
        return Answer(choices=tuple(c for c, _ in ranked))


MUTANTS = [
    (_SpendsOutside, "never_overspends"),
    (_SpendsOutside, "traces_every_generation"),
    (_Hangs, "ends_at_the_deadline"),
    (_LeavesWorkBehind, "cancelling_leaves_nothing_in_flight"),
    (_LeavesWorkBehind, "never_overspends_when_cancelled"),
    (_SwallowsEngineFailures, "reports_a_failing_engine"),
    (_SwallowsVerifierFailures, "reports_a_failing_verifier"),
    (_FirstComeFirstServed, "same_seed_same_tree"),
    (_RanksCutOffFirst, "ranks_what_is_cut_off_last"),
    (_InventsAnswers, "abstainers_never_vote"),
    (_InventsAnswers, "ranks_what_is_cut_off_last"),
    (_VotesTwice, "nobody_votes_twice"),
    (_WeighsTwice, "nobody_votes_twice"),
    (_FailsOnASpentBudget, "a_spent_budget_gives_the_best_so_far"),
    (_SavesQuietly, "a_spent_budget_gives_the_best_so_far"),
    (_CommitsAnything, "committed_text_begins_the_answer"),
    (_PrefersTheWorst, "a_perfect_verifier_never_hurts"),
]


@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
async def test_the_plain_sampler_keeps_the_laws(
    law: Callable[[Callable[[], Strategy]], Awaitable[None]],
) -> None:
    await law(_Sampler)


@pytest.mark.parametrize(("mutant", "law"), MUTANTS)
async def test_a_law_catches(
    mutant: Callable[[], Strategy], law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy_laws, "_PATIENCE", 1.0)
    with pytest.raises(Broken):
        await getattr(strategy_laws, law)(mutant)
    for left in _LeavesWorkBehind.kept:
        left.cancel()
    await asyncio.gather(*_LeavesWorkBehind.kept, return_exceptions=True)
    _LeavesWorkBehind.kept.clear()


def test_every_law_of_strategies_is_tried() -> None:
    assert {law for _, law in MUTANTS} == {law.__name__ for law in STRATEGY_LAWS}


# -- generators that break a law ---------------------------------------------------------------------------


class _Spoilt(ScriptedGenerator):
    """Changes what `sample` and `stream` give."""

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        async with aclosing(
            super().sample(prompt, self.asked(sampling), n=n, meter=self.metered(meter))
        ) as all_:
            async for completion in all_:
                yield self.spoil(completion, sampling)

    def asked(self, sampling: Sampling) -> Sampling:
        return sampling

    def metered(self, meter: Meter | None) -> Meter | None:
        return meter

    def spoil(self, completion: Completion, sampling: Sampling) -> Completion:
        return completion


class _Unnumbered(_Spoilt):
    def spoil(self, completion: Completion, sampling: Sampling) -> Completion:
        return replace(completion, index=0)


class _Unmetered(_Spoilt):
    def metered(self, meter: Meter | None) -> Meter | None:
        return None


class _TooLong(_Spoilt):
    def asked(self, sampling: Sampling) -> Sampling:
        return replace(sampling, max_tokens=(sampling.max_tokens or 0) + 1)


class _MetersTwice(_Spoilt):
    def spoil(self, completion: Completion, sampling: Sampling) -> Completion:
        self.meter.add(Usage())
        return completion

    def metered(self, meter: Meter | None) -> Meter | None:
        self.meter = meter or Meter()
        return self.meter


class _Unseeded(_Spoilt):
    def asked(self, sampling: Sampling) -> Sampling:
        return replace(sampling, seed=None)


class _SameSeedForAll(_Spoilt):
    def asked(self, sampling: Sampling) -> Sampling:
        return replace(sampling, seed=None if sampling.seed is None else 2 * sampling.seed)


class _RunsPastSteps(_Spoilt):
    def asked(self, sampling: Sampling) -> Sampling:
        return replace(sampling, step=None)


class _DropsDelimiters(_Spoilt):
    def spoil(self, completion: Completion, sampling: Sampling) -> Completion:
        return replace(completion, text=completion.text.removesuffix("\n"))


class _ContinuesOtherwise(_Spoilt):
    def asked(self, sampling: Sampling) -> Sampling:
        return replace(sampling, temperature=1.0)


class _AppendsBeforeThePrompt(ScriptedGenerator):
    async def append(self, prompt: Prompt, text: str) -> Prompt:
        grown = await super().append(prompt, text)
        return replace(grown, ids=None if grown.ids is None else grown.ids[::-1])


class _AppendsUncounted(ScriptedGenerator):
    async def append(self, prompt: Prompt, text: str) -> Prompt:
        return replace(await super().append(prompt, text), generated=prompt.generated)


class _KeepsStopStrings(_Spoilt):
    def asked(self, sampling: Sampling) -> Sampling:
        return replace(sampling, stop=())


class _StreamsOther(ScriptedGenerator):
    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        async with aclosing(super().stream(prompt, sampling, meter=meter)) as chunks:
            async for chunk in chunks:
                yield replace(chunk, text=chunk.text.upper())


class _StreamsWithoutEnd(ScriptedGenerator):
    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        async with aclosing(super().stream(prompt, sampling, meter=meter)) as chunks:
            async for chunk in chunks:
                yield replace(chunk, completion=None)


GENERATOR_MUTANTS = [
    (_Unnumbered, "results_are_numbered_and_metered"),
    (_Unmetered, "results_are_numbered_and_metered"),
    (_TooLong, "results_are_numbered_and_metered"),
    (_MetersTwice, "closing_aborts"),
    (_Unmetered, "closing_aborts"),
    (_Unseeded, "seeds_decide"),
    (_SameSeedForAll, "seeds_decide"),
    (_RunsPastSteps, "steps_end_in_the_delimiter"),
    (_DropsDelimiters, "steps_end_in_the_delimiter"),
    (_ContinuesOtherwise, "continuing_changes_nothing"),
    (_AppendsBeforeThePrompt, "appended_text_is_part_of_the_answer"),
    (_AppendsUncounted, "appended_text_is_part_of_the_answer"),
    (_StreamsOther, "streaming_changes_nothing"),
    (_StreamsWithoutEnd, "streaming_changes_nothing"),
    (_KeepsStopStrings, "stop_strings_end_the_answer"),
    (_StreamsOther, "stop_strings_end_the_answer"),
]


@pytest.mark.parametrize(("mutant", "law"), GENERATOR_MUTANTS)
async def test_a_law_of_generators_catches(mutant: type[ScriptedGenerator], law: str) -> None:
    laws = {law.__name__: law for law in GENERATOR_LAWS}
    with pytest.raises(Broken):
        await laws[law](mutant(World(depth=6)), CHAT)


def test_every_law_of_generators_is_tried() -> None:
    assert {law for _, law in GENERATOR_MUTANTS} == {law.__name__ for law in GENERATOR_LAWS}


# -- verifiers that break a law ----------------------------------------------------------------------------


class _SpoiltVerifier:
    name = "spoilt"
    kind: VerifierKind = "process"

    def __init__(self, spoil: Callable[[list[Score]], list[Score]], kind: VerifierKind = "process") -> None:
        self._inner = ScriptedVerifier.noisy(WORLD)
        self._spoil = spoil
        self.kind = kind

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        return self._spoil(await self._inner.score(task, candidates))


def _random_scores(scores: list[Score]) -> list[Score]:
    return [replace(s, value=random.random()) for s in scores]


def _scores_by_size(scores: list[Score]) -> list[Score]:
    return [replace(s, value=s.value / len(scores)) for s in scores]


@pytest.mark.parametrize(
    ("spoil", "kind", "law"),
    [
        (_random_scores, "process", "a_batch_equals_its_members"),
        (lambda scores: scores[:-1], "process", "a_batch_equals_its_members"),
        (_scores_by_size, "process", "a_batch_equals_its_members"),
        (lambda scores: [replace(s, value=1.5) for s in scores], "process", "scores_are_probabilities"),
        (lambda scores: [replace(s, steps=()) for s in scores], "process", "scores_are_probabilities"),
        (lambda scores: scores, "outcome", "scores_are_probabilities"),
    ],
    ids=["random", "missing", "batch", "range", "no steps", "steps"],
)  # fmt: skip
async def test_a_law_of_verifiers_catches(
    spoil: Callable[[list[Score]], list[Score]], kind: VerifierKind, law: str
) -> None:
    laws = {law.__name__: law for law in VERIFIER_LAWS}
    task = WORLD.task()
    with pytest.raises(Broken):
        await laws[law](_SpoiltVerifier(spoil, kind), task, await _candidates(WORLD, task))
