"""An answer as a response of the Responses API, whole or as a stream of events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from mull.errors import InvalidRequest, MullError
from mull.server import render, sse
from mull.server.events import Called, Event, Failed, Reasoning, Silence, Text
from mull.server.message import read_message
from mull.server.responses.output import Output
from mull.server.responses.schema import ResponseRequest
from mull.server.schemas import TTC
from mull.server.service import Job, Solved
from mull.trace import Node


class ResponseFormat:
    """The format of one response.

    Args:
        job: What is being solved.
        asked: The request.
        keep: Called with the response when it is complete.
    """

    last = b""
    """The stream ends with the event that has the whole response."""

    def __init__(self, job: Job, asked: ResponseRequest, keep: Callable[[Mapping[str, Any]], None]) -> None:
        reasoning = asked.reasoning
        self._job = job
        self._asked = asked
        self._keep = keep
        self._output = Output(
            job.id,
            summarised=reasoning is not None and reasoning.summarised,
            top=job.task.sampling.logprobs,
        )
        self.nodes = (asked.ttc or TTC()).progress == "nodes"
        self._number = 0

    def whole(self, solved: Solved) -> dict[str, Any]:
        """The answer as one JSON object."""
        best = solved.choices[0]
        said = read_message(self._job, best, 0)
        made: list[Iterator[Any]] = []
        if said.reasoning is not None:
            made.append(self._output.thoughts(said.reasoning))
        if said.content is not None or not (said.tool_calls or made):
            made.append(self._output.text(said.content or "", best.candidate.logprobs))
        made += [self._output.call(call.id, call.name, call.arguments) for call in said.tool_calls]
        for _ in chain.from_iterable(made):
            pass
        return self._finished(solved)

    def first(self) -> bytes:
        """The events that open the stream."""
        response = self._response("in_progress", ttc=render.plan(self._job))
        return self._event({"type": "response.created", "response": response}) + self._event(
            {"type": "response.in_progress", "response": response}
        )

    def tell(self, event: Event) -> Iterator[bytes]:
        """An event of the search as events of the response."""
        match event:
            case Silence():
                yield sse.HEARTBEAT
            case Node():
                yield self._event({"type": "response.ttc.node", "node": event.to_dict()})
            case Text(index=0):
                yield from map(self._event, self._output.text(event.text, event.logprobs))
            case Reasoning(index=0):
                yield from map(self._event, self._output.thoughts(event.text))
            case Called(index=0):
                call = event.call
                yield from map(self._event, self._output.call(call.id, call.name, call.arguments))
            case Solved():
                yield from self._end(event)
            case Failed():
                yield self._failed(event.error)

    def _end(self, solved: Solved) -> Iterator[bytes]:
        if not self._output.items:
            yield from map(self._event, self._output.text(""))
        status = _status(solved)
        yield from map(self._event, self._output.close(status))
        response = self._finished(solved)
        yield self._event({"type": f"response.{status}", "response": response})

    def _finished(self, solved: Solved) -> dict[str, Any]:
        status = _status(solved)
        for _ in self._output.close(status):
            pass
        response = self._response(
            status,
            output=self._output.items,
            usage=_usage(render.usage(solved)),
            ttc=render.details(self._job, solved, (self._asked.ttc or TTC()).include),
        )
        if status == "completed":
            response["completed_at"] = int(time.time())
        else:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        if self._asked.store:
            self._keep(response)
        return response

    def _failed(self, error: MullError) -> bytes:
        code = "invalid_prompt" if isinstance(error, InvalidRequest) else "server_error"
        failure = {"code": code, "message": error.message}
        response = self._response("failed", output=self._output.items, ttc=render.plan(self._job))
        return self._event({"type": "response.failed", "response": {**response, "error": failure}})

    def _event(self, data: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return sse.event({**data, "sequence_number": number}, name=data["type"])

    def _response(
        self, status: str, *, output: Any = (), usage: Any = None, ttc: dict[str, Any]
    ) -> dict[str, Any]:
        asked, reasoning = self._asked, self._asked.reasoning
        return {
            "id": f"resp_{self._job.id}",
            "object": "response",
            "created_at": self._job.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": asked.model,
            "output": list(output),
            "parallel_tool_calls": asked.parallel_tool_calls,
            "previous_response_id": asked.previous_response_id,
            "reasoning": {
                "effort": None if reasoning is None else reasoning.effort,
                "summary": None if reasoning is None else reasoning.summary or reasoning.generate_summary,
            },
            "store": asked.store,
            "temperature": asked.temperature,
            "text": {"format": {"type": "text"} if asked.text is None else asked.text.format},
            "tool_choice": asked.tool_choice,
            "tools": asked.tools,
            "top_logprobs": asked.top_logprobs,
            "top_p": asked.top_p,
            "truncation": asked.truncation,
            "usage": usage,
            "ttc": ttc,
        }


def _status(solved: Solved) -> Any:
    return "completed" if solved.choices[0].candidate.complete else "incomplete"


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """The usage of a chat completion, named as here."""
    return {
        "input_tokens": usage["prompt_tokens"],
        # Engines fill their caches as they go; nothing is written to order.
        "input_tokens_details": {**usage["prompt_tokens_details"], "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    }
