"""Replicas that fail in every way; what comes out is what one engine without fail would give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

import mull.engines.pool as pool_module
import mull.engines.replica as replica_module
from mull.engines.pool import ATTEMPTS, Pool
from mull.engines.replica import Replica
from mull.engines.sampler import Request, Sampler
from mull.errors import EngineUnavailable, InvalidRequest
from mull.form import Form, Json
from mull.types import Chat, Completion, Meter, Prompt, Sampling, Usage

TEXT = "One and two make three.\n\nSo the answer is three, and nothing else."
END = 0
CHAT = Chat(messages=({"role": "user", "content": "hi"},))
ROOT = Prompt(chat=CHAT, ids=tuple(map(ord, "hi:")))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


class Typist(Sampler):
    """Writes `TEXT`, a token a character, from wherever a prompt has got to."""

    continues = True
    context = 1000
    ends = frozenset[int]()

    def __init__(self, *, breaks_at: Sequence[int | None] = (), streams: bool = True) -> None:
        self.model = "m"
        self.down = False
        self.asked: list[Request] = []
        self.closed_times = 0
        self.hold: asyncio.Event | None = None
        self._breaks_at = list(breaks_at)
        self._streams = streams

    async def check(self) -> None:
        if self.down:
            raise EngineUnavailable("it is down")

    async def render(self, chat: Chat) -> Prompt:
        await self.check()
        return ROOT

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        return prompt.append(text, tuple(map(ord, text)))

    async def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        return tuple(map(ord, text))

    async def spell(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    async def _token_text(self, token: int) -> str:
        return "<end>" if token == END else chr(token)

    async def close(self) -> None:
        self.closed_times += 1

    async def _run(self, request: Request) -> AsyncGenerator[None, None]:
        await self.check()
        self.asked.append(replace(request))
        breaks_at = self._breaks_at.pop(0) if self._breaks_at else None
        request.begun, request.usage = True, Usage(prompt=len(request.prompt.ids or ()))
        start, most = len(request.prompt.text), request.sampling.max_tokens or 1000
        for at in range(start, len(TEXT) + 1):
            if self.hold is not None:
                await self.hold.wait()
            if breaks_at is not None and at >= breaks_at:
                raise EngineUnavailable("it broke")
            request.usage += Usage(completion=1)
            if at == len(TEXT):
                request.ids.append(END)
                request.reason = "stop"
            else:
                request.text += TEXT[at]
                request.ids.append(ord(TEXT[at]))
                stop = next((s for s in request.stops if request.text.endswith(s)), None)
                if stop is not None:
                    request.reason, request.stop = "stop", stop
                elif len(request.ids) == most:
                    request.reason = "length"
            if self._streams or request.reason:
                yield
            if request.reason:
                return


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "EACH", 0.01)
    monkeypatch.setattr(pool_module, "SOON", 0.01)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool("m")
    yield pool
    await pool.close()


def add(pool: Pool, *engines: Typist) -> None:
    for engine in engines:
        pool.add(Replica(str(len(pool.replicas)), engine, engine.close))


async def sample(pool: Pool, sampling: Sampling | None = None, n: int = 1) -> tuple[list[Completion], Meter]:
    meter = Meter()
    async with aclosing(pool.sample(ROOT, sampling or Sampling(), n=n, meter=meter)) as results:
        return [completion async for completion in results], meter


async def alone(sampling: Sampling) -> Completion:
    async with aclosing(Typist().sample(ROOT, sampling)) as results:
        return await anext(results)


@pytest.mark.parametrize("breaks_at", [0, 1, 22, 23, 24, 25, 40, len(TEXT) - 1, len(TEXT)])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(stop=("answer",)),
        Sampling(stop=(".\n\nSo",)),
        Sampling(step="\n\n"),
        Sampling(max_tokens=30),
    ],
    ids=["plain", "stop", "stop of several tokens", "step", "limit"],
)
async def test_a_broken_answer_is_finished_elsewhere(pool: Pool, breaks_at: int, sampling: Sampling) -> None:
    whole = await alone(sampling)
    broken, sound = Typist(breaks_at=[breaks_at]), Typist()
    add(pool, broken)
    [found], meter = await first_then(pool, sound, sampling)
    assert (found.text, found.finish) == (whole.text, whole.finish)
    if found.finish == "step":
        assert "".join(map(chr, found.ids)) == found.text
    assert meter.calls == 1
    asked = [*broken.asked, *sound.asked]
    generated = min(breaks_at, whole.usage.completion)
    assert meter.usage.completion in (whole.usage.completion, whole.usage.completion + generated)
    assert meter.usage.prompt == sum(len(request.prompt.ids or ()) for request in asked)


async def first_then(pool: Pool, second: Typist, sampling: Sampling) -> tuple[list[Completion], Meter]:
    """Sample with one replica, a second one there as soon as the first is at work."""
    first = pool.replicas[0].engine
    assert isinstance(first, Typist)
    first.hold = asyncio.Event()
    asking = asyncio.create_task(sample(pool, sampling))
    await until(lambda: bool(first.asked))
    add(pool, second)
    first.hold.set()
    return await asking


async def test_what_was_generated_is_kept_and_not_generated_again(pool: Pool) -> None:
    broken, sound = Typist(breaks_at=[40]), Typist()
    add(pool, broken)
    [found], meter = await first_then(pool, sound, Sampling(max_tokens=200))
    assert found.text == TEXT
    assert sound.asked[0].prompt.text == TEXT[:40]
    assert sound.asked[0].sampling.max_tokens == 160
    assert meter.usage.completion == len(TEXT) + 1
    assert pool.failovers == 1


async def test_a_stream_goes_on_where_it_broke(pool: Pool) -> None:
    broken, sound = Typist(breaks_at=[23]), Typist()
    add(pool, broken)
    text, last = "", None
    async with aclosing(pool.stream(ROOT, Sampling(stop=("\n\nSo the",)))) as chunks:
        async for chunk in chunks:
            if len(pool.replicas) == 1:
                add(pool, sound)
            text, last = text + chunk.text, chunk.completion
    assert text == TEXT[:23]
    assert last is not None
    assert (last.text, last.finish) == (text, "stop")


async def test_what_a_grammar_rules_is_begun_anew_within_the_same_limit(pool: Pool) -> None:
    broken, sound = Typist(breaks_at=[20]), Typist()
    add(pool, broken)
    form = Form(json=Json(schema={"type": "object"}))
    [found], meter = await first_then(pool, sound, Sampling(max_tokens=50, form=form))
    assert sound.asked[0].prompt == ROOT
    assert sound.asked[0].sampling.max_tokens == 30
    assert (found.text, found.finish) == (TEXT[:30], "length")
    assert meter.usage.completion == 50


async def test_a_stream_that_a_grammar_rules_cannot_go_on(pool: Pool) -> None:
    add(pool, Typist(breaks_at=[20]))
    form = Form(json=Json(schema={"type": "object"}))
    told: list[str] = []

    async def listen() -> None:
        async with aclosing(pool.stream(ROOT, Sampling(form=form))) as chunks:
            async for chunk in chunks:
                told.append(chunk.text)
                if len(pool.replicas) == 1:
                    add(pool, Typist())

    with pytest.raises(EngineUnavailable, match="it broke"):
        await listen()
    assert "".join(told) == TEXT[:20]


async def test_an_engine_that_tells_nothing_before_the_end_begins_anew(pool: Pool) -> None:
    broken, sound = Typist(breaks_at=[40], streams=False), Typist()
    add(pool, broken)
    [found], _ = await first_then(pool, sound, Sampling())
    assert found.text == TEXT


async def test_a_request_is_given_to_so_many_replicas_at_most(pool: Pool) -> None:
    """It may be what kills them."""
    engines = [Typist(breaks_at=[0] * 9) for _ in range(ATTEMPTS + 2)]
    add(pool, *engines)
    with pytest.raises(EngineUnavailable, match="it broke"):
        await sample(pool)
    assert sum(len(engine.asked) for engine in engines) == ATTEMPTS


async def test_a_replica_that_is_well_is_not_asked_the_same_twice(pool: Pool) -> None:
    engine = Typist(breaks_at=[5, None])
    add(pool, engine)
    with pytest.raises(EngineUnavailable, match="it broke"):
        await sample(pool)
    assert len(engine.asked) == 1


async def test_requests_wait_for_the_only_engine_to_come_back(pool: Pool) -> None:
    engine = Typist(breaks_at=[30])
    engine.hold = asyncio.Event()
    add(pool, engine)
    asking = asyncio.create_task(sample(pool))
    await until(lambda: bool(engine.asked))
    engine.down = True
    engine.hold.set()
    await until(lambda: not pool.replicas[0].up)
    engine.down = False
    [found], _ = await asking
    assert found.text == TEXT
    assert engine.asked[1].prompt.text == TEXT[:30]


async def test_nobody_waits_for_ever(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PATIENCE", 0.05)
    engine = Typist()
    engine.down = True
    add(pool, engine)
    with pytest.raises(EngineUnavailable, match="it is down"):
        await sample(pool)
    with pytest.raises(EngineUnavailable, match="no engine of model 'm' answers"):
        await pool.check()


async def test_a_fault_of_the_request_is_its_own(pool: Pool) -> None:
    class Picky(Typist):
        async def _run(self, request: Request) -> AsyncGenerator[None, None]:
            self.asked.append(request)
            if request.index == 0:
                raise InvalidRequest("no")
            yield

    engines = [Picky(), Picky()]
    add(pool, *engines)
    for _ in range(5):
        with pytest.raises(InvalidRequest):
            await sample(pool)
    assert sum(len(engine.asked) for engine in engines) == 5
    assert all(replica.serves for replica in pool.replicas)


async def test_a_drained_replica_ends_its_work_and_goes(pool: Pool) -> None:
    first, second = Typist(), Typist()
    first.hold = asyncio.Event()
    add(pool, first)
    asking = asyncio.create_task(sample(pool))
    await until(lambda: bool(first.asked))
    add(pool, second)
    pool.drain("0")
    await sample(pool, n=3)
    assert len(second.asked) == 3
    assert first.closed_times == 0
    first.hold.set()
    [found], _ = await asking
    assert found.text == TEXT
    await until(lambda: len(pool.replicas) == 1)
    assert (first.closed_times, second.closed_times) == (1, 0)


async def test_branches_stay_where_their_prefix_is(pool: Pool) -> None:
    engines = [Typist() for _ in range(4)]
    add(pool, *engines)
    held = asyncio.Event()
    for engine in engines:
        engine.hold = held
    asking = asyncio.create_task(sample(pool, Sampling(step="\n\n"), n=40))
    await until(lambda: sum(len(engine.asked) for engine in engines) == 40)
    held.set()
    found, _ = await asking
    homes = [engine for engine in engines if engine.asked]
    # More than one replica takes at once, so some went elsewhere.
    assert len(homes) > 1
    for engine in engines:
        engine.asked.clear()
    async with aclosing(pool.sample(ROOT.extend(found[0]), Sampling(), n=8)) as ends:
        assert {end.text async for end in ends} == {TEXT.partition("\n\n")[2]}
    assert sum(bool(engine.asked) for engine in engines) == 1


async def test_a_replica_that_is_different_is_refused(pool: Pool) -> None:
    add(pool, Typist())
    other = Typist()
    other.context = 99
    with pytest.raises(ValueError, match="not like the others"):
        add(pool, other)
    with pytest.raises(ValueError, match="already"):
        pool.add(Replica("0", Typist()))


async def test_prompts_are_rendered_wherever_somebody_answers(pool: Pool) -> None:
    gone, there = Typist(), Typist()
    gone.down = True
    add(pool, gone, there)
    for _ in range(4):
        assert await pool.render(CHAT) == ROOT
    assert await pool.append(ROOT, "x") == ROOT.append("x", (ord("x"),))
    assert await pool.encode("x") == (ord("x"),)
    assert await pool.spell([ord("x")]) == "x"


async def test_a_busy_replica_may_miss_a_look_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "ANSWERING", 0.01)

    class Busy(Typist):
        async def check(self) -> None:
            await asyncio.Event().wait()

    replica = Replica("0", Busy())
    for _ in range(replica_module.MISSED - 1):
        await replica.look()
        assert replica.serves
    await replica.look()
    assert not replica.serves


async def test_leaving_aborts_at_the_replica(pool: Pool) -> None:
    engine = Typist()
    engine.hold = asyncio.Event()
    add(pool, engine)
    asking = asyncio.create_task(sample(pool, n=3))
    await until(lambda: len(engine.asked) == 3)
    assert pool.replicas[0].in_flight == 3
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert pool.replicas[0].in_flight == 0
    assert pool.replicas[0].serves


async def test_requests_that_are_to_blame_do_not_close_the_only_engine(pool: Pool) -> None:
    engine = Typist(breaks_at=[0] * 10)
    add(pool, engine)
    for _ in range(10):
        with pytest.raises(EngineUnavailable, match="it broke"):
            await sample(pool)
    assert pool.replicas[0].breaker.open
    [found], _ = await sample(pool)
    assert found.text == TEXT


async def test_an_empty_pool_takes_servers_of_another_kind(pool: Pool) -> None:
    add(pool, Typist())
    pool.drain("0")
    await until(lambda: not pool.replicas)
    other = Typist()
    other.context = 99
    add(pool, other)
    assert pool.context == 99
