"""Several engines of one model as one `Generator`: routed by prefix, and none missed when one dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from mull.engines.attempt import Attempt
from mull.engines.remote import RemoteGenerator
from mull.engines.replica import Replica
from mull.engines.routing import choose, root_of
from mull.engines.sampler import Request, Sampler
from mull.engines.supervised import PATIENCE
from mull.errors import EngineUnavailable
from mull.memory import Memory
from mull.types import Chat, Prompt

EACH, SOON = 2.0, 0.3
"""Seconds between looks at the replicas: when all are well, and when one is not."""

ATTEMPTS = 3
"""Replicas that a request is given to, at most: it may be what kills them."""

T = TypeVar("T")


class Pool(Sampler):
    """Replicas of a model. Begins to look after them with the first one; `close` ends it.

    A search stays where its prefix is cached, as far as loads allow. What a replica fails to do another one
    does, or the same once it is back, with the tokens that there were. Nothing else is asked twice.

    Args:
        model: Name under which the model is served.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.context, self.continues, self.apart = 0, True, False
        self.ends: frozenset[int] = frozenset()
        self.failovers = 0
        """Requests that went on at another replica."""
        self.peopled = asyncio.Event()
        """Set once there has been a replica."""
        self._replicas: dict[str, Replica] = {}
        self._homes: Memory[int, str] = Memory()
        self._roots: Memory[int, tuple[Chat, bytes]] = Memory(64)
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._leaving: dict[str, asyncio.Task[None]] = {}

    @property
    def replicas(self) -> Sequence[Replica]:
        """All of them, in the order in which they came."""
        return tuple(self._replicas.values())

    def add(self, replica: Replica) -> None:
        """Serve with one more.

        Raises:
            ValueError: there is one of this name, or it cannot do what the others can.
        """
        engine = replica.engine
        apart = isinstance(engine, RemoteGenerator) and engine.apart
        if replica.name in self._replicas:
            raise ValueError(f"there is a replica {replica.name!r} already")
        if not self._replicas:
            self.context, self.continues, self.ends, self.apart = (
                engine.context,
                engine.continues,
                engine.ends,
                apart,
            )
        elif (engine.context, engine.continues, apart) != (self.context, self.continues, self.apart):
            raise ValueError(
                f"replica {replica.name!r} is not like the others: its context is {engine.context}, "
                f"not {self.context}, or it is another kind of server"
            )
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name=f"replicas of {self.model}")
        self._replicas[replica.name] = replica
        replica.changed = self._changed
        self.peopled.set()
        self._changed.set()

    def drain(self, name: str) -> None:
        """Give a replica nothing new, and let go of it when it has ended what it has."""
        replica = self._replicas[name]
        if not replica.draining:
            replica.draining = True
            self._leaving[name] = asyncio.create_task(self._leave(replica), name=f"drain {name}")

    def keep(self, name: str) -> None:
        """Give a replica requests again, although it was to be drained."""
        if (leaving := self._leaving.pop(name, None)) is not None:
            leaving.cancel()
            self._replicas[name].draining = False
            self._changed.set()

    async def close(self) -> None:
        """Let go of all replicas at once."""
        tasks = [*self._leaving.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        replicas, self._replicas = self.replicas, {}
        await asyncio.gather(*(replica.close() for replica in replicas if replica.close is not None))

    async def check(self) -> None:
        """Return while any replica serves.

        Raises:
            EngineUnavailable: none does.
        """
        if not any(replica.there for replica in self.replicas):
            await asyncio.gather(*(replica.look() for replica in self.replicas))
        if not any(replica.there for replica in self.replicas):
            raise self._none()

    async def render(self, chat: Chat) -> Prompt:
        """Apply the chat template at any replica that answers.

        Raises:
            EngineUnavailable: none answers.
            InvalidRequest: the template refuses the chat, or it leaves no room for an answer.
        """
        return await self._ask(lambda engine: engine.render(chat))

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with a text put into the answer.

        Raises:
            EngineUnavailable: no replica answers.
            Unsupported: they cannot continue a partial answer.
        """
        return await self._ask(lambda engine: engine.append(prompt, text))

    async def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text; `special` adds the tokenizer's special tokens.

        Raises:
            EngineUnavailable: no replica answers.
            Unsupported: they do not show their tokenizer.
        """
        return await self._ask(lambda engine: engine.encode(text, special=special))

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens written out.

        Raises:
            EngineUnavailable: no replica answers.
            Unsupported: they do not show their tokenizer.
        """
        return await self._ask(lambda engine: engine.spell(ids))

    async def _run(self, request: Request) -> AsyncGenerator[None, None]:
        tried: list[tuple[Replica, int]] = []
        failure: EngineUnavailable | None = None
        while True:
            replica = await self._next(request.prompt, tried, failure)
            self.failovers += failure is not None
            tried.append((replica, replica.lives))
            attempt = Attempt(request, continues=self.continues)
            failed: EngineUnavailable | None = None
            try:
                with replica.working():
                    async with aclosing(replica.engine._run(attempt.part)) as updates:
                        async for _ in updates:
                            attempt.join()
                            yield
            except EngineUnavailable as error:
                failed = error
            finally:
                attempt.join()
            if failed is None:
                break
            if len(tried) == ATTEMPTS or not Attempt.possible(request, continues=self.continues):
                raise failed
            failure = failed
            if replica.up:
                await replica.look()
        if request.prompt.ids is not None and len(self._replicas) > 1:
            self._homes.put(hash(request.prompt.ids + tuple(request.ids)), replica.name)

    async def _token_text(self, token: int) -> str:
        return await self._ask(lambda engine: engine._token_text(token))

    async def _ask(self, call: Callable[[Sampler], Awaitable[T]]) -> T:
        """What any replica answers: the same from all."""
        tried: list[tuple[Replica, int]] = []
        failure: EngineUnavailable | None = None
        while True:
            replica = await self._next(None, tried, failure)
            tried.append((replica, replica.lives))
            try:
                with replica.used():
                    return await call(replica.engine)
            except EngineUnavailable as error:
                if len(tried) == ATTEMPTS:
                    raise
                failure = error
                if replica.up:
                    await replica.look()

    async def _next(
        self, prompt: Prompt | None, tried: Sequence[tuple[Replica, int]], failure: EngineUnavailable | None
    ) -> Replica:
        """The replica to ask, once there is one that has not failed at this since it came back.

        Raises:
            EngineUnavailable: there is none, and none comes back in time.
        """
        deadline = time.monotonic() + PATIENCE
        while (chosen := self._choice(prompt, tried)) is None:
            if not any(replica.hopeful for replica in self.replicas):
                raise failure or self._none()
            self._changed.clear()
            try:
                # On Python 3.11 wait_for loses a cancellation that comes together with the news.
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                raise failure or self._none() from None
        return chosen

    def _choice(self, prompt: Prompt | None, tried: Sequence[tuple[Replica, int]]) -> Replica | None:
        there = [r for r in self._replicas.values() if r.there and (r, r.lives) not in tried]
        # Where all fail, requests may be to blame: others are not made to suffer for it.
        fit = [r for r in there if r.serves] or there
        if len(fit) <= 1:
            return fit[0] if fit else None
        if prompt is None:
            return min(fit, key=lambda replica: replica.in_flight)
        home = None if prompt.ids is None else self._homes.get(hash(prompt.ids))
        return choose(fit, self._root(prompt.chat), home)

    def _root(self, chat: Chat) -> bytes:
        # The chat is kept, so that its number is not another's meanwhile.
        known = self._roots.get(id(chat))
        if known is None:
            known = chat, root_of(chat)
            self._roots.put(id(chat), known)
        return known[1]

    async def _look(self) -> None:
        while True:
            ill = any(replica.engine.polled and not replica.up for replica in self.replicas)
            await asyncio.sleep(SOON if ill else EACH)
            asked = [replica for replica in self.replicas if replica.engine.polled or not replica.up]
            await asyncio.gather(*(replica.look() for replica in asked))

    async def _leave(self, replica: Replica) -> None:
        await replica.idle.wait()
        del self._leaving[replica.name]
        del self._replicas[replica.name]
        if replica.close is not None:
            await replica.close()

    def _none(self) -> EngineUnavailable:
        return EngineUnavailable(f"no engine of model {self.model!r} answers")
