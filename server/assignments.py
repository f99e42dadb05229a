"""`name=value` as it is written on a command line."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def assignment(text: str) -> tuple[str, Any]:
    r"""Read `name=value`; the value is JSON where it can be (`4`, `true`, `"\n"`), else the text itself.

    Raises:
        ValueError: there is no name or no `=`.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ValueError(f"{text!r} is not of the form name=value")
    return name, _value(value.strip())


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity as JSON, but no server may be sent them.
    raise ValueError(name)
