"""An answer as a message of Anthropic's API, whole or as a stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mull.errors import MullError
from mull.server import render, sse
from mull.server.events import Called, Event, Failed, Reasoning, Silence, Text
from mull.server.message import read_message
from mull.server.messages.errors import error_of
from mull.server.messages.schema import MessagesRequest
from mull.server.schemas import TTC
from mull.server.service import Job, Solved
from mull.trace import Node

PING = sse.event({"type": "ping"}, name="ping")


class MessageFormat:
    """The format of one message.

    Args:
        job: What is being solved.
        asked: The request.
    """

    last = b""

    def __init__(self, job: Job, asked: MessagesRequest) -> None:
        self._job = job
        self._asked = asked
        self.nodes = (asked.ttc or TTC()).progress == "nodes"
        # Whoever omits the thoughts gets none of them.
        self._thoughts = asked.thinking is None or asked.thinking.display != "omitted"
        self._open: str | None = None
        self._index = -1

    def whole(self, solved: Solved) -> dict[str, Any]:
        """The answer as one JSON object."""
        return {
            **self._message(),
            "content": self._content(solved),
            **self._stop(solved),
            "usage": _usage(solved),
            "ttc": self._details(solved),
        }

    def first(self) -> bytes:
        """The event that opens the stream."""
        nothing = {"input_tokens": 0, "output_tokens": 0}
        message = {**self._message(), "stop_reason": None, "stop_sequence": None, "usage": nothing}
        return _event("message_start", message={**message, "ttc": render.plan(self._job)})

    def tell(self, event: Event) -> Iterator[bytes]:
        """An event of the search as events of the message."""
        match event:
            case Silence():
                yield PING
            case Node():
                yield _event("ttc_node", node=event.to_dict())
            case Text(index=0):
                yield from self._begin("text", {"text": ""})
                yield from self._more({"type": "text_delta", "text": event.text})
            case Reasoning(index=0) if self._thoughts:
                yield from self._begin("thinking", {"thinking": "", "signature": ""})
                yield from self._more({"type": "thinking_delta", "thinking": event.text})
            case Called(index=0):
                call = event.call
                yield from self._begin("tool_use", {"id": call.id, "name": call.name, "input": {}})
                yield from self._more({"type": "input_json_delta", "partial_json": call.arguments})
            case Solved():
                yield from self._end(event)
            case Failed():
                yield self._failed(event.error)

    def _end(self, solved: Solved) -> Iterator[bytes]:
        if self._index < 0:
            yield from self._begin("text", {"text": ""})
        yield from self._close()
        ttc = self._details(solved)
        yield _event("message_delta", delta=self._stop(solved), usage=_usage(solved), ttc=ttc)
        yield _event("message_stop")

    def _begin(self, kind: str, empty: dict[str, Any]) -> Iterator[bytes]:
        """Open a block, where the one that is open is of another kind."""
        if self._open == kind and kind != "tool_use":
            return
        yield from self._close()
        self._open = kind
        self._index += 1
        yield _event("content_block_start", index=self._index, content_block={"type": kind, **empty})

    def _more(self, delta: dict[str, Any]) -> Iterator[bytes]:
        yield _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> Iterator[bytes]:
        if self._open is not None:
            yield _event("content_block_stop", index=self._index)
        self._open = None

    def _failed(self, error: MullError) -> bytes:
        return sse.event(error_of(error), name="error")

    def _content(self, solved: Solved) -> list[dict[str, Any]]:
        said = read_message(self._job, solved.choices[0], 0)
        blocks: list[dict[str, Any]] = []
        if self._thoughts and said.reasoning is not None:
            blocks.append({"type": "thinking", "thinking": said.reasoning, "signature": ""})
        if said.content is not None or not (said.tool_calls or blocks):
            blocks.append({"type": "text", "text": said.content or ""})
        return blocks + [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
            for call in said.tool_calls
        ]

    def _stop(self, solved: Solved) -> dict[str, Any]:
        # Which of several stop strings ended an answer, or whether one did, is not known.
        reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
        finish = render.finish_reason(self._job, solved.choices[0])
        return {"stop_reason": reasons[finish], "stop_sequence": None}

    def _details(self, solved: Solved) -> dict[str, Any]:
        return render.details(self._job, solved, (self._asked.ttc or TTC()).include)

    def _message(self) -> dict[str, Any]:
        return {
            "id": f"msg_{self._job.id}",
            "type": "message",
            "role": "assistant",
            "model": self._asked.model,
            "content": [],
        }


def _event(kind: str, **data: Any) -> bytes:
    return sse.event({"type": kind, **data}, name=kind)


def _usage(solved: Solved) -> dict[str, int]:
    """What the request cost; input read from the prefix cache is counted apart."""
    spent = solved.run.usage
    return {
        "input_tokens": spent.prompt - spent.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": spent.cached,
        "output_tokens": spent.completion,
    }
