"""Passages as they come: strings, or the lines of a JSONL file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mull.chunks import chunks
from mull.types import Passage


def read(path: str | Path) -> list[Passage]:
    """The passages of a file with one JSON object a line: `text`, perhaps `id`, and whatever else as `data`.

    Without an `id` the line's number is one. Blank lines are skipped. Blocks; run it in a thread.

    Raises:
        ValueError: a line is not such an object; the message names the file and the line.
        OSError: the file cannot be read.
    """
    found = []
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found.append(_passage(line, number))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    return found


def _passage(line: bytes, number: int) -> Passage:
    try:
        fields: Any = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    text, id = fields.pop("text", None), fields.pop("id", number)
    if not isinstance(text, str):
        raise ValueError("`text` is a string, and required")
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise ValueError("`id` is a string or an integer")
    try:
        json.dumps([text, id, fields], ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("not valid Unicode") from error
    return Passage(text=text, id=str(id), data=fields)


def numbered(texts: Iterable[str | Passage]) -> list[Passage]:
    """Passages as they are; strings get their number, from 1, as id."""
    return [
        text if isinstance(text, Passage) else Passage(text=text, id=str(number))
        for number, text in enumerate(texts, 1)
    ]


def cut(passages: Iterable[Passage], size: int, overlap: int = 0) -> Iterator[Passage]:
    """Passages longer than `size` characters cut into chunks, `id#1`, `id#2` and so on; see `mull.chunks`."""
    for passage in passages:
        if len(passage.text) <= size:
            yield passage
            continue
        for number, text in enumerate(chunks(passage.text, size, overlap=overlap), 1):
            yield replace(passage, text=text, id=f"{passage.id}#{number}")
