"""An answer as OpenAI's chat.completion, whole or as a stream of chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mull.server import render, sse
from mull.server.errors import body_of
from mull.server.events import Called, Event, Failed, Opened, Reasoning, Silence, Text
from mull.server.schemas import TTC, ChatRequest
from mull.server.service import Job, Solved
from mull.trace import Node
from mull.types import TokenLogprob


class ChatFormat:
    """The format of one chat completion.

    Args:
        job: What is being solved.
        asked: The request.
    """

    last = sse.DONE

    def __init__(self, job: Job, asked: ChatRequest) -> None:
        options = asked.stream_options
        self._job = job
        self._include = (asked.ttc or TTC()).include
        progress = (asked.ttc or TTC()).progress
        self.nodes = progress is not False
        self._whole_nodes = progress == "nodes"
        self._include_usage = options is not None and options.include_usage
        self._scores: dict[int, float | None] = {}
        self._reasoning = asked.include_reasoning
        # There is one tier; whoever asks for one is told so.
        self._tier = {} if asked.service_tier is None else {"service_tier": "default"}

    def whole(self, solved: Solved) -> dict[str, Any]:
        """The answer as one JSON object."""
        return render.completion(self._job, solved, self._include, reasoning=self._reasoning) | self._tier

    def first(self) -> bytes:
        """The chunk that opens the stream."""
        ttc = render.plan(self._job) if self._whole_nodes else None
        return self._chunk(0, {"role": "assistant", "content": ""}, ttc=ttc)

    def tell(self, event: Event) -> Iterator[bytes]:
        """An event as chunks."""
        match event:
            case Silence():
                yield sse.HEARTBEAT
            case Node() if self._whole_nodes:
                yield self._chunk(0, {}, ttc={"node": event.to_dict()})
            case Node():
                if line := self._progress(event):
                    yield self._chunk(0, {"reasoning": line})
            case Opened():
                yield self._chunk(event.index, {"role": "assistant", "content": ""})
            case Text():
                yield self._chunk(event.index, {"content": event.text}, logprobs=event.logprobs)
            case Reasoning():
                thought = {"reasoning": event.text} if self._reasoning else {}
                if thought or event.logprobs:
                    yield self._chunk(event.index, thought, logprobs=event.logprobs)
            case Called():
                call = event.call
                opened = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
                for part in (opened, {"function": {"arguments": call.arguments}}):
                    yield self._chunk(event.index, {"tool_calls": [{"index": event.number, **part}]})
            case Solved():
                yield from self._end(event)
            case Failed():
                yield sse.event(body_of(event.error))

    def _end(self, solved: Solved) -> Iterator[bytes]:
        for index, choice in enumerate(solved.choices):
            last = index == len(solved.choices) - 1
            ttc = render.details(self._job, solved, self._include) if last else None
            finish = render.finish_reason(self._job, choice)
            yield self._chunk(index, {}, finish=finish, ttc=ttc)
        if self._include_usage:
            yield sse.event({**self._frame(), "choices": [], "usage": render.usage(solved)})

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
        logprobs: Sequence[TokenLogprob] = (),
        ttc: dict[str, Any] | None = None,
    ) -> bytes:
        top = self._job.task.sampling.logprobs
        told = None if top is None or not logprobs else render.logprobs(logprobs, top)
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": told}
        usage = {"usage": None} if self._include_usage else {}
        extra = {} if ttc is None else {"ttc": ttc}
        return sse.event({**self._frame(), "choices": [choice], **usage, **extra})

    def _frame(self) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._job.id}",
            "object": "chat.completion.chunk",
            "created": self._job.created,
            "model": self._job.plan.alias,
            **self._tier,
        }
