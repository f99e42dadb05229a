"""What a choice says: its thoughts, its content and its tool calls."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mull.answers.splitter import split
from mull.server.service import Job
from mull.types import Choice


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of a tool, under an id that the caller can answer to."""

    id: str
    name: str
    arguments: str
    """A JSON object."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """What one choice says."""

    reasoning: str | None
    content: str | None
    """None where there is nothing beside thoughts or calls."""
    tool_calls: tuple[ToolCall, ...] = ()


def read_message(job: Job, choice: Choice, index: int) -> Message:
    """What a choice says, the `index`-th of those returned."""
    parts = split(choice.candidate.text, job.task.form)
    calls = tuple(
        ToolCall(id=call_id(job, index, number), name=call.name, arguments=call.arguments)
        for number, call in enumerate(parts.calls)
    )
    nothing = not parts.content and (calls or parts.reasoning is not None)
    return Message(reasoning=parts.reasoning, content=None if nothing else parts.content, tool_calls=calls)


def call_id(job: Job, index: int, number: int) -> str:
    """The id of a call: the same in a stream and in a whole answer."""
    digest = hashlib.blake2b(f"{job.id}/{index}/{number}".encode(), digest_size=12).hexdigest()
    # Mistral's chat templates take ids of nine letters and digits only.
    return digest[:9] if job.task.form.style == "mistral" else f"call_{digest}"
