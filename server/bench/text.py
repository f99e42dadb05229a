"""How the parts of a run are written in one line of text, JSON values among them."""

from __future__ import annotations

import json
import re
from typing import Any

from mull.server.assignments import assignment

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|.', re.DOTALL)
_BRACKETS = {"{": "}", "[": "]"}
_PLAIN = re.compile(r'[^\s,"{}\[\]]+')


def parts(text: str) -> list[str]:
    """Split at commas outside of quotes and brackets.

    Raises:
        ValueError: a part is empty, or quotes or brackets do not match.
    """
    found, closing = [""], list[str]()
    for token in _TOKEN.findall(text):
        if token == "," and not closing:
            found.append("")
            continue
        if token in _BRACKETS:
            closing.append(_BRACKETS[token])
        elif token == '"' or (token in _BRACKETS.values() and (not closing or closing.pop() != token)):
            closing.append(token)
            break
        found[-1] += token
    if closing or (text and not all(part.strip() for part in found)):
        raise ValueError(f"{text!r} has an empty part, or a quote or bracket that is not closed")
    return found if text else []


def read(part: str) -> tuple[str, Any]:
    """Read `name=value`; what begins as JSON has to be JSON.

    Raises:
        ValueError: it is neither.
    """
    name, value = assignment(part)
    if isinstance(value, str) and part.partition("=")[2].strip()[0:1] in _BRACKETS:
        raise ValueError(f"{part!r} holds no JSON; in a shell, put the whole run in single quotes")
    return name, value


def written(value: Any) -> str:
    """A value as `read` reads it back."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and assignment(f"x={value}")[1] == value:
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
