"""The tools of a request, and the form in which it wants its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from mull.form import Json
from mull.server.strict import Strict

LONGEST_SCHEMA = 64_000
"""Of one JSON Schema, in characters."""

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def local(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, if it is small enough and refers to itself only.

    Raises:
        ValueError: it is too large, or something would have to be fetched.
    """
    if len(json.dumps(schema)) > LONGEST_SCHEMA:
        raise ValueError(f"must be a JSON Schema of at most {LONGEST_SCHEMA} characters")
    level: list[Any] = [schema]
    while level:
        for part in level:
            for name in REFERENCES if isinstance(part, dict) else ():
                target = part.get(name)
                if isinstance(target, str) and not target.startswith("#"):
                    raise ValueError(
                        f"{name} must refer to the schema itself ('#/...'), not to {target!r:.80}"
                    )
        level = [
            inner
            for part in level
            if isinstance(part, dict | list)
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
    return schema


Schema = Annotated[dict[str, Any], AfterValidator(local)]


class Function(Strict):
    """A function that the model may call."""

    name: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.\-]+$")
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function

    def to_dict(self) -> dict[str, Any]:
        """The tool as chat templates expect it."""
        return self.model_dump(exclude_none=True)


def chosen(choice: Any) -> Any:
    """`tool_choice` as one of three words, or as `{"name": ...}`.

    Raises:
        ValueError: it is anything else.
    """
    if choice in ("none", "auto", "required"):
        return choice
    if isinstance(choice, dict) and choice.keys() == {"type", "function"} and choice["type"] == "function":
        function = choice["function"]
        if isinstance(function, dict) and function.keys() == {"name"} and isinstance(function["name"], str):
            return function
    raise ValueError(
        'must be \'none\', \'auto\', \'required\' or {"type": "function", "function": {"name": "..."}}'
    )


class JsonSchema(Strict):
    """The schema that an answer has to fit."""

    name: str = Field("answer", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-]+$")
    description: str | None = None
    schema_: Schema = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """What an answer has to be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def json_form(self) -> Json | None:
        """What is demanded; None for text."""
        if self.type == "text":
            return None
        if self.json_schema is None:
            return Json()
        given = self.json_schema
        return Json(schema=given.schema_, name=given.name, strict=bool(given.strict))


def schemas_of(tools: list[Tool]) -> Mapping[str, Mapping[str, Any]]:
    """The schemas of the tools' arguments, by name."""
    return {tool.function.name: tool.function.parameters or {} for tool in tools}
