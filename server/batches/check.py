"""Whether an input file can be worked on: all of it is looked at before the first line is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError
from pydantic_core import from_json

from mull.errors import InvalidRequest
from mull.server.batches.schemas import Line
from mull.server.errors import invalid

MOST_ERRORS = 100
"""Errors that are told; the rest of such a file is not looked at."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What there is in an input file."""

    total: int
    """Its requests."""
    model: str | None
    """The model that all of them ask, if it is one."""
    errors: tuple[dict[str, Any], ...]


def check(path: Path, *, endpoint: str, most: int, most_bytes: int) -> Checked:
    """Read an input file from its beginning to its end.

    Args:
        path: The file: JSON Lines.
        endpoint: Where all its requests have to go.
        most: Requests that it may hold.
        most_bytes: Bytes that one may have.
    """
    seen: dict[str, int] = {}
    models: set[Any] = set()
    errors: list[dict[str, Any]] = []
    total = 0
    with path.open("rb") as file:
        for number, data in numbered(file, most_bytes):
            total += 1
            try:
                if total > most:
                    raise InvalidRequest(f"there are more than {most} requests", code="too_many_requests")
                line = parse(data, endpoint, most_bytes)
                if (first := seen.setdefault(line.custom_id, number)) != number:
                    raise InvalidRequest(
                        f"custom_id {line.custom_id!r:.80} is that of line {first} already",
                        param="custom_id",
                        code="duplicate_custom_id",
                    )
                model = line.body.get("model")
                models.add(model if isinstance(model, str) else None)
            except InvalidRequest as error:
                problem = {"code": error.code, "message": error.message, "param": error.param, "line": number}
                errors.append(problem)
                if len(errors) == MOST_ERRORS or total > most:
                    break
    if not total:
        errors.append(
            {"code": "empty_file", "message": "there are no requests", "param": "input_file_id", "line": None}
        )
    return Checked(total=total, model=models.pop() if len(models) == 1 else None, errors=tuple(errors))


def parse(data: bytes, endpoint: str, most_bytes: int) -> Line:
    """One line of an input file.

    Raises:
        InvalidRequest: naming what is wrong with it.
    """
    if len(data) > most_bytes:
        raise InvalidRequest(f"the line is longer than the allowed {most_bytes} bytes", code="line_too_long")
    try:
        read = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"the line is not valid JSON: {error}", code="invalid_json_line") from None
    if not isinstance(read, dict):
        raise InvalidRequest("the line must be a JSON object", code="invalid_json_line")
    try:
        line = Line.model_validate(read)
    except ValidationError as error:
        raise invalid(error, Line) from None
    if line.url != endpoint:
        raise InvalidRequest(
            f"url must be the batch's endpoint, {endpoint!r}, not {line.url!r:.80}", param="url"
        )
    if line.body.get("stream"):
        raise InvalidRequest("body.stream must not be true: a batch has no streams", param="body.stream")
    return line


def numbered(file: BinaryIO, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1; of too long ones only a part."""
    number = 0
    # One byte more than allowed, and its end, show that it is too long.
    while line := file.readline(most_bytes + 3):
        number += 1
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(1 << 20)):
            pass
        if line.strip():
            yield number, line.rstrip(b"\r\n")
