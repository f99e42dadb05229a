"""One request while it is being solved: what there is to tell, in order, in whatever format it is told."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from mull.answers.splitter import Content, Piece, Splitter, Thought
from mull.errors import MullError
from mull.server.message import ToolCall, call_id
from mull.server.service import Job, Service, Solved
from mull.trace import Node
from mull.types import Choice, Chunk, TokenLogprob

log = logging.getLogger(__name__)

PIECE = re.compile(r"\s*\S{1,12}|\s+")
"""About a token: a word, or a part of a long one, with the space before it."""


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Nothing happened for a heartbeat."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Another choice begins; the first one begins with the stream."""

    index: int


@dataclass(frozen=True, kw_only=True)
class Reasoning:
    """More of what the model thinks before it answers."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Text:
    """More of the content of a choice, of which nothing will be taken back.

    Empty where there are only log-probabilities to tell, of tokens whose text is part of no content.
    """

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Called:
    """A tool call of a choice, whole."""

    index: int
    number: int
    """Which of the choice's calls it is, from 0."""
    call: ToolCall


@dataclass(frozen=True, kw_only=True)
class Failed:
    """It will not be answered; the last event."""

    error: MullError


Event = Silence | Node | Opened | Reasoning | Text | Called | Solved | Failed
"""A `Node` is new, or has a new score; `Solved` is the last event, after all the text."""


class Solving:
    """Solves one job and tells how it goes.

    Args:
        service: What solves the job.
        job: What to solve.
        heartbeat: Seconds without anything to tell before a `Silence`.
        nodes: Whether to tell the nodes of the search.
    """

    def __init__(self, service: Service, job: Job, *, heartbeat: float, nodes: bool = False) -> None:
        self._job = job
        self._metrics = service.metrics
        self._heartbeat = heartbeat
        self._started = time.monotonic()
        self._spoke = False
        self._news: asyncio.Queue[Chunk | Node | None] = asyncio.Queue()
        self._sent = ""
        self._first = _Telling(job, 0)
        # A search commits text without log-probabilities, and before it is known whether its answer is as
        # demanded; where either is wanted, its answer comes whole.
        form = job.task.form
        certain = job.task.sampling.logprobs is None and form.json is None and not form.call
        early = certain or not job.plan.strategy.needs.continues
        self._solving = asyncio.create_task(
            service.solve(
                job,
                commit=self._news.put_nowait if early else None,
                listener=self._news.put_nowait if nodes else None,
            )
        )
        self._solving.add_done_callback(lambda _: self._news.put_nowait(None))

    async def begin(self) -> None:
        """Wait for the request's turn, and then until it is known to be sound, or for one heartbeat.

        Raises:
            MullError: what is wrong with it; it can still be answered with a status of its own.
        """
        admitted = asyncio.create_task(self._job.admitted.wait())
        begun = asyncio.create_task(self._job.begun.wait())
        first = asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait({admitted, self._solving}, return_when=first)
            await asyncio.wait({begun, self._solving}, timeout=self._heartbeat, return_when=first)
        finally:
            admitted.cancel()
            begun.cancel()
        if self._solving.done():
            self._solving.result()

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        self._solving.cancel()
        await asyncio.gather(self._solving, return_exceptions=True)

    async def events(self) -> AsyncGenerator[Event, None]:
        """All there is to tell; ends after `Solved` or `Failed`."""
        async with aclosing(self._events()) as events:
            async for event in events:
                self._count(event)
                yield event

    def _count(self, event: Event) -> None:
        if isinstance(event, Failed):
            self._metrics.fail(event.error)
        elif not self._spoke and isinstance(event, Reasoning | Text | Called):
            self._spoke = True
            plan = self._job.plan
            self._metrics.first_token.labels(plan.model, plan.name).observe(time.monotonic() - self._started)

    async def _events(self) -> AsyncGenerator[Event, None]:
        while True:
            try:
                # Not `wait_for`: that of Python 3.11 loses a cancellation that comes together with news.
                async with asyncio.timeout(self._heartbeat):
                    news = await self._news.get()
            except TimeoutError:
                yield Silence()
                continue
            if news is None:
                break
            if isinstance(news, Node):
                yield news
            else:
                self._sent += news.text
                for event in self._first.tell(news.text, news.logprobs):
                    yield event
        try:
            solved = self._solving.result()
            for event in self._rest(solved):
                yield event
                # One piece a turn of the loop: a long answer does not hold up other requests.
                await asyncio.sleep(0)
            yield solved
        except MullError as error:
            yield Failed(error=error)
        except Exception:
            log.exception("%s failed in mid-stream", self._job.id)
            yield Failed(error=MullError("internal error"))

    def _rest(self, solved: Solved) -> Iterator[Event]:
        """All the text that was not told yet."""
        best = solved.choices[0].candidate.text
        if not best.startswith(self._sent):
            raise RuntimeError(f"{self._job.plan.name} committed to text that its answer does not begin with")
        for index, choice in enumerate(solved.choices):
            if index:
                yield Opened(index=index)
            telling = _Telling(self._job, index) if index else self._first
            for text, tokens in self._pieces(choice, "" if index else self._sent):
                yield from telling.tell(text, tokens)
            yield from telling.end()

    def _pieces(self, choice: Choice, sent: str) -> Iterator[tuple[str, tuple[TokenLogprob, ...]]]:
        """The text not sent yet, about a token at a time; exactly that where log-probabilities are."""
        text = choice.candidate.text[len(sent) :]
        if self._job.task.sampling.logprobs is None:
            yield from ((piece, ()) for piece in PIECE.findall(text))
        elif not sent:
            for token in choice.candidate.logprobs:
                piece = token.token if text.startswith(token.token) else ""
                text = text[len(piece) :]
                yield piece, (token,)
            if text:
                yield text, ()


class _Telling:
    """Tells the text of one choice as what it is."""

    def __init__(self, job: Job, index: int) -> None:
        self._job = job
        self._index = index
        self._splitter = Splitter(job.task.form)
        self._number = 0
        self._held: tuple[TokenLogprob, ...] = ()

    def tell(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> Iterator[Event]:
        """More text; its log-probabilities come with what is told next."""
        self._held += logprobs
        yield from self._events(self._splitter.feed(text))
        if self._held and self._job.task.form.plain:
            yield Text(index=self._index, text="", logprobs=self._take())

    def end(self) -> Iterator[Event]:
        """The choice has ended."""
        yield from self._events(self._splitter.close())
        if self._held:
            yield Text(index=self._index, text="", logprobs=self._take())

    def _events(self, pieces: Iterable[Piece]) -> Iterator[Event]:
        for piece in pieces:
            match piece:
                case Thought():
                    yield Reasoning(index=self._index, text=piece.text, logprobs=self._take())
                case Content():
                    yield Text(index=self._index, text=piece.text, logprobs=self._take())
                case _:
                    id = call_id(self._job, self._index, self._number)
                    call = ToolCall(id=id, name=piece.name, arguments=piece.arguments)
                    yield Called(index=self._index, number=self._number, call=call)
                    self._number += 1

    def _take(self) -> tuple[TokenLogprob, ...]:
        held, self._held = self._held, ()
        return held
