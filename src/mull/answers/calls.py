"""JSON and tool calls in one canonical spelling, so that equal values are equal strings."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

LONGEST = 100_000
"""Longer JSON abstains, in characters: it would block the event loop for too long."""

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
_PLAIN_EXPONENT = 20
"""Numbers with more zeros than this stay in scientific notation."""


class _Number(str):
    """A JSON number in canonical spelling."""


def canonical_json(text: str) -> str | None:
    """The JSON value that the text (or its one code block) is: sorted keys, one spelling a number.

    Returns:
        None when it is not JSON as RFC 8259 has it (without `NaN`), nested too deeply or too long.
    """
    try:
        return _spell(_load(text))
    except (ValueError, ArithmeticError, RecursionError):
        return None


def tool_calls(text: str) -> str | None:
    """Name and arguments of the tool calls in the text: one as an object, several as an array, in order.

    Understands OpenAI's shape (a call, its `function` part, a list or a message with `tool_calls`; arguments
    as an object or as a JSON string) and `<tool_call>{...}</tool_call>` blocks inside other text.
    """
    try:
        blocks = _blocks(text)
        found = [_call(c) for b in blocks for c in _listed(_load(b))]
        return _spell(found[0] if len(found) == 1 else found) if found else None
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _blocks(text: str) -> list[str]:
    """The JSON texts that hold tool calls."""
    first, *rest = text.split("<tool_call>")
    if not rest:
        return [first]
    blocks = []
    for part in rest:
        block, closed, _ = part.partition("</tool_call>")
        if not closed:
            raise ValueError("unclosed tool call")
        blocks.append(block)
    return blocks


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict) and "tool_calls" in value:
        value = value["tool_calls"]
    return value if isinstance(value, list) else [value]


def _call(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        raise ValueError("not a tool call")
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str) and not isinstance(arguments, _Number):
        arguments = _load(arguments)
    name = value.get("name")
    if not isinstance(name, str) or isinstance(name, _Number) or not isinstance(arguments, dict):
        raise ValueError("not a tool call")
    return {"name": name, "arguments": arguments}


def _load(text: str) -> Any:
    if len(text) > LONGEST:
        raise ValueError("too long")
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    return json.loads(
        fenced.group(1) if fenced else text, parse_int=_number, parse_float=_number, parse_constant=_refuse
    )


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _number(spelling: str) -> _Number:
    """`1.0`, `1e0` and `1` are one number, whatever its size."""
    sign, digits, exponent = Decimal(spelling).as_tuple()
    mantissa = "".join(map(str, digits)).lstrip("0")
    kept = mantissa.rstrip("0")
    if not kept:
        return _Number("0")
    power = int(exponent) + len(mantissa) - len(kept)
    minus = "-" if sign else ""
    if 0 <= power <= _PLAIN_EXPONENT:
        return _Number(minus + kept + "0" * power)
    if 0 < -power <= _PLAIN_EXPONENT:
        padded = kept.rjust(1 - power, "0")
        return _Number(f"{minus}{padded[:power]}.{padded[power:]}")
    return _Number(f"{minus}{kept}e{power}")


def _spell(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{_spell(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spell, value)) + "]"
    return json.dumps(value)
