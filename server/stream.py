"""The same answer as a stream: certain text as soon as it is certain, signs of life until then."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Collection, Iterator
from typing import Any

from mull.errors import MullError
from mull.server import render, sse
from mull.server.errors import body_of
from mull.server.schemas import Include
from mull.server.service import Job, Service, Solved
from mull.trace import Node
from mull.types import Choice, Chunk, TokenLogprob

log = logging.getLogger(__name__)

PIECE = re.compile(r"\s*\S{1,12}|\s+")
"""About a token: a word, or a part of a long one, with the space before it."""


class Stream:
    """One streamed request.

    Args:
        service: What solves the job.
        job: What to solve.
        heartbeat: Seconds of silence before a sign of life.
        include: What `ttc` holds besides the summary.
        progress: Whether the search is told as `delta.reasoning`.
        include_usage: Whether a usage chunk comes at the end.
    """

    def __init__(
        self,
        service: Service,
        job: Job,
        *,
        heartbeat: float,
        include: Collection[Include],
        progress: bool,
        include_usage: bool,
    ) -> None:
        self._job = job
        self._heartbeat = heartbeat
        self._include = include
        self._include_usage = include_usage
        self._news: asyncio.Queue[Chunk | Node | None] = asyncio.Queue()
        self._sent = ""
        self._scores: dict[int, float | None] = {}
        # A search commits text without log-probabilities; where those are wanted, its answer comes whole.
        early = job.task.sampling.logprobs is None or not job.plan.strategy.needs.continues
        self._solving = asyncio.create_task(
            service.solve(
                job,
                commit=self._news.put_nowait if early else None,
                listener=self._news.put_nowait if progress else None,
            )
        )
        self._solving.add_done_callback(lambda _: self._news.put_nowait(None))

    async def begin(self) -> None:
        """Wait until the request is known to be sound, or for one heartbeat.

        Raises:
            MullError: what is wrong with it; it can still be answered with a status of its own.
        """
        begun = asyncio.create_task(self._job.begun.wait())
        try:
            await asyncio.wait(
                {begun, self._solving}, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            begun.cancel()
        if self._solving.done():
            self._solving.result()

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        self._solving.cancel()
        await asyncio.gather(self._solving, return_exceptions=True)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the stream."""
        yield self._chunk(0, {"role": "assistant", "content": ""})
        while True:
            try:
                news = await asyncio.wait_for(self._news.get(), self._heartbeat)
            except TimeoutError:
                yield sse.HEARTBEAT
                continue
            if news is None:
                break
            if isinstance(news, Chunk):
                self._sent += news.text
                yield self._text(0, news.text, news.logprobs)
            elif line := self._progress(news):
                yield self._chunk(0, {"reasoning": line})
        try:
            solved = self._solving.result()
            for data in self._rest(solved):
                yield data
                # One piece a turn of the loop: a long answer does not hold up other requests.
                await asyncio.sleep(0)
        except MullError as error:
            yield sse.event(body_of(error))
        except Exception:
            log.exception("request %s failed in mid-stream", self._job.id)
            yield sse.event(body_of(MullError("internal error")))
        yield sse.DONE

    def _rest(self, solved: Solved) -> Iterator[bytes]:
        """Everything that is left to say once the answer is known."""
        choices = solved.choices
        best = choices[0].candidate.text
        if not best.startswith(self._sent):
            raise RuntimeError(f"{self._job.plan.name} committed to text that its answer does not begin with")
        for index, choice in enumerate(choices):
            if index:
                yield self._chunk(index, {"role": "assistant", "content": ""})
            for text, tokens in self._pieces(choice, "" if index else self._sent):
                yield self._text(index, text, tokens)
        for index, choice in enumerate(choices):
            last = index == len(choices) - 1
            extra = {"ttc": render.details(self._job, solved, self._include)} if last else {}
            yield self._chunk(index, {}, finish=render.finish_reason(choice), **extra)
        if self._include_usage:
            yield sse.event({**self._frame(), "choices": [], "usage": render.usage(solved)})

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

    def _text(self, index: int, text: str, tokens: tuple[TokenLogprob, ...]) -> bytes:
        top = self._job.task.sampling.logprobs
        return self._chunk(
            index, {"content": text}, logprobs=None if top is None else render.logprobs(tokens, top)
        )

    def _progress(self, node: Node) -> str | None:
        """A line about a node of the search: when it is new, and when its score is."""
        known = node.id in self._scores
        if known and self._scores[node.id] == node.score:
            return None
        self._scores[node.id] = node.score
        if known:
            return f"#{node.id} scored {node.score:.3f}\n"
        text = " ".join(node.text.split())
        return f"#{node.id} {node.kind} from #{node.parent}: {text[:80]}\n"

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        finish: str | None = None,
        logprobs: dict[str, Any] | None = None,
        **extra: Any,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        usage = {"usage": None} if self._include_usage else {}
        return sse.event({**self._frame(), "choices": [choice], **usage, **extra})

    def _frame(self) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._job.id}",
            "object": "chat.completion.chunk",
            "created": self._job.created,
            "model": self._job.plan.alias,
        }
