"""What is kept of files and batches, and how OpenAI's API shows it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
OVER: tuple[Status, ...] = ("failed", "completed", "expired", "cancelled")
MOMENTS = (
    "in_progress",
    "expires",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)
"""What a batch says the time of, as `..._at`."""


def new_id(kind: str) -> str:
    """An id that nobody guesses."""
    return kind + secrets.token_hex(16)


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that was uploaded, or that a batch wrote."""

    id: str = field(default_factory=lambda: new_id("file-"))
    owner: str | None
    filename: str
    purpose: Literal["batch", "batch_output"]
    bytes: int
    created_at: int
    expires_at: int

    def to_dict(self) -> dict[str, Any]:
        """The `file` object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file that is about to be kept, and where its whole content was written meanwhile."""

    file: StoredFile
    draft: Path


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What the answers of a batch cost, as their `usage` says."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    @classmethod
    def of(cls, usage: Any) -> Tokens:
        """Read off the `usage` of an answer, whichever endpoint it is of."""
        if not isinstance(usage, Mapping):
            return cls()

        def found(name: str, *path: str) -> int:
            for first in path:
                at: Any = usage.get(first)
                at = at.get(name) if isinstance(at, Mapping) else at
                if isinstance(at, int):
                    return at
            return 0

        return cls(
            input=found("", "prompt_tokens", "input_tokens"),
            cached=found("cached_tokens", "prompt_tokens_details", "input_tokens_details"),
            output=found("", "completion_tokens", "output_tokens"),
            reasoning=found("reasoning_tokens", "completion_tokens_details", "output_tokens_details"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The `usage` of a `batch` object."""
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Many requests in a file, answered when there is time."""

    id: str = field(default_factory=lambda: new_id("batch_"))
    owner: str | None
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    status: Status = "validating"
    times: Mapping[str, int]
    """Unix time of each of `MOMENTS` that is known."""
    metadata: Mapping[str, str] | None = None
    output_seconds: int | None = None
    """How long its output files are kept, where the request says so."""
    errors: Sequence[Mapping[str, Any]] = ()
    """What is wrong with its input file."""
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    tokens: Tokens = field(default_factory=Tokens)

    def to_dict(self) -> dict[str, Any]:
        """The `batch` object."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": list(self.errors)} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            **{f"{moment}_at": self.times.get(moment) for moment in MOMENTS},
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "usage": self.tokens.to_dict(),
            "metadata": self.metadata,
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One line of a batch that is over."""

    line: int
    """Its number in the input file, from 1."""
    kind: Literal["completed", "failed", "expired"]
    content: bytes
    """Its line in the output or error file, without the end of line."""
    tokens: Tokens = field(default_factory=Tokens)
