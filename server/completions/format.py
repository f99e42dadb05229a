"""Answers as OpenAI's text_completion, whole or as a stream of chunks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mull.server import render, sse
from mull.server.completions.schema import CompletionRequest
from mull.server.errors import body_of
from mull.server.events import Event, Failed, Opened, Silence, Text
from mull.server.schemas import TTC
from mull.server.service import Job, Solved
from mull.trace import Node
from mull.types import Choice, TokenLogprob


@dataclass(frozen=True, kw_only=True)
class Of:
    """An event, and which of the prompts it is about."""

    prompt: int
    event: Event


class CompletionFormat:
    """The format of one request.

    The choices of prompt `p` have the indices from `p * n`; there are gaps where a strategy found fewer than
    `n` distinct ones.

    Args:
        jobs: What is being solved, prompt by prompt.
        asked: The request.
    """

    last = sse.DONE

    def __init__(self, jobs: Sequence[Job], asked: CompletionRequest) -> None:
        self._jobs = jobs
        self._asked = asked
        self._include = (asked.ttc or TTC()).include
        self.nodes = (asked.ttc or TTC()).progress == "nodes"
        self._include_usage = asked.stream_options is not None and asked.stream_options.include_usage
        self._told: defaultdict[int, int] = defaultdict(int)
        self._solved: list[Solved] = []

    def whole(self, solved: Solved | Sequence[Solved]) -> dict[str, Any]:
        """The answers to all prompts as one JSON object."""
        all_solved = [solved] if isinstance(solved, Solved) else solved
        details = [
            render.details(job, each, self._include) for job, each in zip(self._jobs, all_solved, strict=True)
        ]
        return {
            **self._frame(),
            "choices": [
                {
                    "index": self._index(prompt, index),
                    "text": self._echo(prompt) + choice.candidate.text,
                    "finish_reason": _finish(choice),
                    "logprobs": self._logprobs(choice.candidate.logprobs, 0),
                }
                for prompt, each in enumerate(all_solved)
                for index, choice in enumerate(each.choices)
            ],
            "usage": summed([render.usage(each) for each in all_solved]),
            "ttc": details[0] if len(details) == 1 else details,
        }

    def first(self) -> bytes:
        """What opens the stream: what is known of each prompt already."""
        chunks = []
        for prompt, job in enumerate(self._jobs):
            ttc = render.plan(job) if self.nodes else None
            if ttc is not None or self._echo(prompt):
                chunks.append(self._chunk(self._index(prompt), self._echo(prompt), ttc=ttc))
        return b"".join(chunks)

    def tell(self, event: Event | Of) -> Iterator[bytes]:
        """An event as chunks."""
        prompt, event = (event.prompt, event.event) if isinstance(event, Of) else (0, event)
        match event:
            case Silence():
                yield sse.HEARTBEAT
            case Node():
                yield self._chunk(self._index(prompt), "", ttc={"node": event.to_dict()})
            case Opened() if self._echo(prompt):
                yield self._chunk(self._index(prompt, event.index), self._echo(prompt))
            case Text():
                index = self._index(prompt, event.index)
                logprobs = self._logprobs(event.logprobs, self._told[index])
                self._told[index] += len(event.text)
                yield self._chunk(index, event.text, logprobs=logprobs)
            case Solved():
                yield from self._end(prompt, event)
            case Failed():
                yield sse.event(body_of(event.error))

    def _end(self, prompt: int, solved: Solved) -> Iterator[bytes]:
        self._solved.append(solved)
        for index, choice in enumerate(solved.choices):
            last = index == len(solved.choices) - 1
            ttc = render.details(self._jobs[prompt], solved, self._include) if last else None
            finish = _finish(choice)
            yield self._chunk(self._index(prompt, index), "", finish=finish, ttc=ttc)
        if self._include_usage and len(self._solved) == len(self._jobs):
            usage = summed([render.usage(each) for each in self._solved])
            yield sse.event({**self._frame(), "choices": [], "usage": usage})

    def _index(self, prompt: int, index: int = 0) -> int:
        return prompt * self._asked.n + index

    def _echo(self, prompt: int) -> str:
        return self._jobs[prompt].task.chat.question if self._asked.echo else ""

    def _logprobs(self, tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any] | None:
        return None if self._asked.logprobs is None else _logprobs(tokens, self._asked.logprobs, offset)

    def _chunk(
        self,
        index: int,
        text: str,
        *,
        finish: str | None = None,
        logprobs: dict[str, Any] | None = None,
        ttc: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": index, "text": text, "finish_reason": finish, "logprobs": logprobs}
        usage = {"usage": None} if self._include_usage else {}
        extra = {} if ttc is None else {"ttc": ttc}
        return sse.event({**self._frame(), "choices": [choice], **usage, **extra})

    def _frame(self) -> dict[str, Any]:
        job = self._jobs[0]
        return {
            "id": f"cmpl-{job.id}",
            "object": "text_completion",
            "created": job.created,
            "model": job.plan.alias,
        }


def _finish(choice: Choice) -> str:
    return "stop" if choice.candidate.complete else "length"


def summed(usages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The sum of several usages, detail by detail."""
    return {
        name: summed([usage[name] for usage in usages])
        if isinstance(value, dict)
        else sum(usage[name] for usage in usages)
        for name, value in usages[0].items()
    }


def _logprobs(tokens: Sequence[TokenLogprob], top: int, offset: int) -> dict[str, Any]:
    """Log-probabilities in the older shape: lists side by side; the sampled token is always among the top."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [max(token.logprob, -9999.0) for token in tokens],
        "top_logprobs": [
            {text: max(value, -9999.0) for text, _, value in token.top[:top]}
            | {token.token: max(token.logprob, -9999.0)}
            for token in tokens
        ],
        "text_offset": offsets,
    }
