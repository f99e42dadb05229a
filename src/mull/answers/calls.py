"""JSON and tool calls in one canonical spelling, so that equal values are equal strings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

LONGEST = 100_000
"""Longer JSON abstains, in characters: it would block the event loop for too long."""

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
_PLAIN_EXPONENT = 20
"""Numbers with more zeros than this stay in scientific notation."""


class _Number(str):
    """A JSON number in canonical spelling."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: str
    """A JSON object, its keys in the order in which they were written."""
    value: str
    """The call in canonical spelling: equal calls have equal values."""


def read_calls(text: str) -> list[Call]:
    """The calls that a text of JSON is: one, a list of them, or several behind one another.

    Understands OpenAI's shapes, and Llama's, with `parameters` and semicolons.

    Raises:
        ValueError: it is anything else.
    """
    return _guarded(lambda: [_as_call(value) for each in _values(text) for value in _listed(each)])


def read_named_calls(text: str) -> list[Call]:
    """Mistral's calls: a list as above, or the name before its arguments, with or without `[ARGS]`.

    Raises:
        ValueError: it is anything else.
    """
    if text.lstrip().startswith(("[", "{")):
        return read_calls(text)
    name, brace, rest = text.partition("{")
    name = name.removesuffix("[ARGS]").strip()
    return _guarded(lambda: [_as_call({"name": name, "arguments": _load(brace + rest)})])


def spelled(calls: Sequence[Call]) -> str:
    """Calls as an answer: one as an object, several as an array, in order."""
    return calls[0].value if len(calls) == 1 else f"[{','.join(call.value for call in calls)}]"


def canonical_json(text: str, *, fenced: bool = True) -> str | None:
    """The JSON value that the text (or its one code block) is: sorted keys, one spelling a number.

    Args:
        text: What to read.
        fenced: Whether a code block counts.

    Returns:
        None when it is not JSON as RFC 8259 has it (without `NaN`), nested too deeply or too long.
    """
    try:
        return _spell(_load(text, fenced=fenced))
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


def _guarded(reading: Callable[[], list[Call]]) -> list[Call]:
    try:
        found = reading()
    except (ArithmeticError, RecursionError) as error:
        raise ValueError("not a tool call") from error
    if not found:
        raise ValueError("not a tool call")
    return found


def _as_call(value: Any) -> Call:
    call = _call(value)
    return Call(name=call["name"], arguments=_spell(call["arguments"], as_given=True), value=_spell(call))


def _values(text: str) -> list[Any]:
    """JSON values behind one another, divided by white space or semicolons."""
    if len(text) > LONGEST:
        raise ValueError("too long")
    found, at, end = list[Any](), 0, len(text)
    while True:
        while at < end and (text[at].isspace() or (text[at] == ";" and found)):
            at += 1
        if at == end:
            return found
        value, at = _DECODER.raw_decode(text, at)
        found.append(value)


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


def _load(text: str, *, fenced: bool = True) -> Any:
    if len(text) > LONGEST:
        raise ValueError("too long")
    text = text.strip()
    block = _FENCE.fullmatch(text) if fenced else None
    return json.loads(
        block.group(1) if block else text, parse_int=_number, parse_float=_number, parse_constant=_refuse
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


_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_refuse)


def _spell(value: Any, *, as_given: bool = False) -> str:
    """One spelling a value, its keys sorted; or in the order and the letters in which it was written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        keys = value if as_given else sorted(value)
        pairs = (
            f"{json.dumps(k, ensure_ascii=not as_given)}:{_spell(value[k], as_given=as_given)}" for k in keys
        )
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_spell(each, as_given=as_given) for each in value) + "]"
    return json.dumps(value, ensure_ascii=not as_given)
