"""Errors as OpenAI error objects, with messages that name the field and what it allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mull.errors import InvalidRequest, MullError, VerifierUnavailable, one_of


def body_of(error: MullError) -> dict[str, Any]:
    """The error object that OpenAI's clients understand."""
    message = error.message
    if isinstance(error, VerifierUnavailable) and error.name not in message:
        message = f"verifier {error.name!r}: {message}"
    return {"error": {"message": message, "type": error.type, "param": error.param, "code": error.code}}


def headers_of(error: MullError) -> dict[str, str]:
    """What a client can do about it: try an unavailable thing again, or show a key."""
    if error.status == 401:
        return {"WWW-Authenticate": "Bearer"}
    seconds = getattr(error, "retry_after", None)
    return {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}


def cause_of(error: BaseException) -> BaseException:
    """What went wrong when several tasks failed together: the first deliberate error, else the first."""
    if isinstance(error, BaseExceptionGroup):
        error = error.subgroup(MullError) or error
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def invalid(
    error: ValidationError, model: type[BaseModel], *, prefix: str = "", also: Sequence[str] = ()
) -> InvalidRequest:
    """The first thing wrong with a request, as an error that names the field and what it allows.

    Args:
        error: What validating against `model` raised.
        model: Where the allowed values are read off.
        prefix: Path of the validated object inside the request (`ttc.`).
        also: More field names that are allowed beside the model's own.
    """
    return problems(error, model, prefix=prefix, also=also)[0]


class Several(ValueError):
    """What a validator found wrong, each in a sentence that names the field."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems[0])
        self.problems = tuple(problems)


def problems(
    error: ValidationError, model: type[BaseModel], *, prefix: str = "", also: Sequence[str] = ()
) -> list[InvalidRequest]:
    """All that is wrong, each as `invalid` says it."""
    schema, found = model.model_json_schema(), []
    for each in error.errors(include_url=False):
        cause = each.get("ctx", {}).get("error")
        texts = cause.problems if isinstance(cause, Several) else (None,)
        found += [_problem(each, text, schema, prefix, also) for text in texts]
    # Where several types are allowed, each of them is found missing.
    return list({problem.message: problem for problem in found}.values())


def _problem(
    first: ErrorDetails, text: str | None, schema: Mapping[str, Any], prefix: str, also: Sequence[str]
) -> InvalidRequest:
    """One error; `text` is what a validator says of it, where it says several things."""
    kind = first["type"]
    loc, here = _walk(schema, first["loc"])
    param = prefix + path(loc)
    if first["loc"][-1:] == ("[key]",):
        loc, here = _walk(schema, first["loc"][:-2])
        param, allowed = prefix + path(loc), describe({"type": "string", **here.get("propertyNames", {})})
        message, code = f"a key of {param} must be {allowed}, not {_short(first['input'])}", "invalid_value"
    elif kind == "extra_forbidden":
        parent, here = _walk(schema, first["loc"][:-1])
        where = (prefix + path(parent)).rstrip(".")
        known = one_of([*_properties(here), *also])
        message = f"unknown field {param!r}; allowed{' in ' + where if where else ''}: {known}"
        code = "unknown_parameter"
    elif kind == "missing":
        message, code = f"{param} is required", "missing_required_parameter"
    elif kind == "value_error":
        problem = text or str(first["ctx"]["error"])
        message, code = f"{param}: {problem}" if param else problem, "invalid_value"
    else:
        message = f"{param} must be {describe(here)}, not {_short(first['input'])}"
        code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    return InvalidRequest(message, param=param, code=code)


def path(loc: Sequence[str | int]) -> str:
    """A location as one writes it: `messages[0].content`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def describe(schema: Mapping[str, Any]) -> str:
    """What a JSON Schema allows, in words: `an integer from 1 to 1024`."""
    if "enum" in schema:
        return "one of " + one_of(repr(value) for value in schema["enum"])
    if "const" in schema:
        return repr(schema["const"])
    if "discriminator" in schema:
        return f"an object with a {schema['discriminator']['propertyName']}"
    if "anyOf" in schema:
        return " or ".join(describe(s) for s in schema["anyOf"] if s.get("type") != "null")
    match schema.get("type"):
        case "integer":
            return "an integer" + _bounds(schema)
        case "number":
            return "a number" + _bounds(schema)
        case "string":
            short, long = schema.get("minLength", 0), schema.get("maxLength")
            kind = "a non-empty string" if short else "a string"
            kind += f" of at most {long} characters" if long else ""
            return kind + (f" that matches {schema['pattern']}" if "pattern" in schema else "")
        case "boolean":
            return "true or false"
        case "array":
            return ("a non-empty list" if schema.get("minItems") else "a list") + (
                f" of at most {schema['maxItems']}" if "maxItems" in schema else ""
            )
        case "object":
            return ("a non-empty object" if schema.get("minProperties") else "an object") + (
                f" of at most {schema['maxProperties']} fields" if "maxProperties" in schema else ""
            )
    return "valid"


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    parts = [
        f"{word} {bound}"
        for word, bound in (("of at least", low), ("above", above), ("of at most", high), ("below", below))
        if bound is not None
    ]
    return " " + " and ".join(parts) if parts else ""


def _walk(schema: Mapping[str, Any], loc: Sequence[str | int]) -> tuple[list[str | int], Mapping[str, Any]]:
    """Follow pydantic's location through a JSON Schema.

    Returns:
        The location as the caller wrote it (pydantic adds which member of a union it tried), and the part
        of the schema that describes it, empty where it cannot be found.
    """
    definitions, here = schema.get("$defs", {}), schema
    written: list[str | int] = []
    for depth, part in enumerate(loc, 1):
        members = here.get("discriminator", {}).get("mapping", {})
        if part in members:
            here = _resolve({"$ref": members[part]}, definitions)
            continue
        if "anyOf" in here and not here.keys() & {"properties", "items", "additionalProperties"}:
            # One of several types that it tried: what is wrong is told of all of them, or inside of that one.
            kinds = [_resolve(kind, definitions) for kind in here["anyOf"]]
            inside = next((kind for kind in kinds if kind.get("title") == part), None)
            here = {"anyOf": kinds} if inside is None or depth == len(loc) else inside
            continue
        written.append(part)
        if isinstance(part, int):
            inner = here.get("items")
        else:
            keyed = next(iter(here.get("patternProperties", {}).values()), here.get("additionalProperties"))
            inner = _properties(here).get(part) or keyed
        here = _resolve(inner if isinstance(inner, Mapping) else {}, definitions)
    return written, here


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and an optional field to what it is when given."""
    while True:
        given = [s for s in schema.get("anyOf", ()) if s.get("type") != "null"]
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        elif len(given) == 1:
            schema = given[0]
        else:
            return schema


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema.get("properties", {})
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
