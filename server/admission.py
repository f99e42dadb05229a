"""From a request's JSON to its model: every field is honoured, harmless, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mull.errors import InvalidRequest, one_of
from mull.server.errors import invalid

T = TypeVar("T", bound=BaseModel)

Refused = Mapping[str, tuple[tuple[Any, ...], str]]
"""Known but unsupported fields: the values that ask for nothing special, and why no others are allowed."""


def admitted(data: Mapping[str, Any], model: type[T], *, refused: Refused, harmless: Sequence[str] = ()) -> T:
    """A request's body as `model`; a null counts as absent, here and in the objects that it holds.

    Args:
        data: The body.
        model: What it has to be.
        refused: Fields that are known and not honoured.
        harmless: Fields that only label the request; they are taken out.

    Raises:
        InvalidRequest: naming the first field that is wrong and what it allows.
    """
    given = {name: _without_nulls(value) for name, value in data.items() if value is not None}
    for name in [name for name in given if name not in model.model_fields]:
        value = given.pop(name)
        if name not in harmless:
            _refuse(name, value, model, refused, harmless)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid(error, model) from None


def _without_nulls(value: Any) -> Any:
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _refuse(name: str, value: Any, model: type[BaseModel], refused: Refused, harmless: Sequence[str]) -> None:
    """Refuse a field that is not the model's, unless its value asks for nothing."""
    if name not in refused:
        known = one_of([*model.model_fields, *harmless])
        raise InvalidRequest(
            f"unknown field {name!r:.80}; allowed: {known}", param=name[:80], code="unknown_parameter"
        )
    allowed, why = refused[name]
    if not any(value == each and type(value) is type(each) for each in allowed):
        hint = f"leave it out or give {one_of(repr(each) for each in allowed)}" if allowed else "leave it out"
        raise InvalidRequest(
            f"{name} cannot be honoured: {why}; {hint}", param=name, code="unsupported_parameter"
        )
