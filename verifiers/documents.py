"""The documents that answers are held against."""

from __future__ import annotations

from collections.abc import Sequence

from mull.errors import InvalidRequest
from mull.types import Passage, Task


def required(task: Task, name: str) -> tuple[Passage, ...]:
    """What was retrieved for the task.

    Raises:
        InvalidRequest: nothing was; the message names the verifier.
    """
    if not task.documents:
        raise InvalidRequest(
            f"verifier {name!r} holds answers against retrieved documents, and there are none: "
            "use it with a strategy that retrieves"
        )
    return task.documents


def listed(documents: Sequence[Passage]) -> str:
    """The texts one below the other, numbered from 1."""
    return "\n\n".join(f"[{number}] {passage.text.strip()}" for number, passage in enumerate(documents, 1))
