"""What may be asked of files and batches."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from mull.server.schemas import Strict

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/score", "/v1/rerank")
"""What the lines of a batch may be sent to, where the server has it."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST = 30 * 86_400
WINDOW = re.compile(r"([1-9]\d{0,6})([smhd])")


class Expiry(Strict):
    """How long a file is kept."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=LONGEST)


class Upload(Strict):
    """The fields of POST /v1/files beside the file."""

    purpose: Literal["batch"]
    expires_after: Expiry | None = None


class BatchRequest(Strict):
    """The body of POST /v1/batches."""

    input_file_id: str = Field(min_length=1, max_length=128)
    endpoint: str = Field(min_length=1, max_length=128)
    completion_window: str = Field(max_length=16, description="24h, say: after this time it expires.")
    metadata: (
        dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]] | None
    ) = Field(None, max_length=16)
    output_expires_after: Expiry | None = None

    @field_validator("completion_window")
    @classmethod
    def _a_time(cls, window: str) -> str:
        found = WINDOW.fullmatch(window)
        if found is None or not int(found[1]) * UNITS[found[2]] <= LONGEST:
            raise ValueError(f"must be a time of at most 30d like 24h or 90m, not {window!r}")
        return window

    @property
    def seconds(self) -> int:
        """The completion window."""
        return int(self.completion_window[:-1]) * UNITS[self.completion_window[-1]]


class Line(Strict):
    """One line of an input file."""

    custom_id: str = Field(min_length=1, max_length=512)
    method: Literal["POST"]
    url: str
    body: dict[str, Any]
