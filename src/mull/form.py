"""What an answer is made of, and what it has to be: thoughts, tool calls, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

CallStyle = Literal["auto", "hermes", "json", "mistral"]
"""How a model writes tool calls: `hermes` as `<tool_call>{...}</tool_call>`, `json` as a text that is nothing
but `{"name": ..., "parameters": ...}` (Llama 3), `mistral` as `[TOOL_CALLS] [...]`, `auto` as either of the
first two."""


@dataclass(frozen=True, kw_only=True)
class Thoughts:
    """How a model marks what it thinks before it answers."""

    open: str = "<think>"
    close: str = "</think>"
    opened: bool = False
    """Whether the chat template has opened the thought already."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a model writes."""

    thoughts: Thoughts | None = None
    calls: CallStyle = "auto"


@dataclass(frozen=True, kw_only=True)
class Json:
    """The content has to be JSON."""

    schema: Mapping[str, Any] | None = None
    """What it has to fit; None: any object."""
    name: str = "answer"
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class Form:
    """How to read an answer, and what it has to be; an empty one takes any text as it is."""

    thoughts: Thoughts | None = None
    style: CallStyle = "auto"
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The tools that may be called: JSON Schemas of their arguments by name."""
    call: bool | str = False
    """Whether a tool has to be called, or the name of the one that has to be."""
    parallel: bool = True
    """Whether an answer may hold several calls."""
    json: Json | None = None
    begun: str = ""
    """The begin of the answer, which the prompt holds already."""

    @property
    def plain(self) -> bool:
        """Whether a text is all content."""
        return self.thoughts is None and not self.tools

    @property
    def demanding(self) -> bool:
        """Whether some answers are not what was asked for."""
        return bool(self.tools) or self.json is not None

    @property
    def loose(self) -> Form:
        """The form for a part of an answer: how to read it, with nothing demanded."""
        return replace(self, call=False, json=None)

    @property
    def aside(self) -> Form:
        """The form of a reply that is no answer: it may be thought about, and is any text."""
        return Form(thoughts=self.thoughts)

    def constraint(self) -> dict[str, Any] | None:
        """VLLM's structured outputs that allow only what is asked for; None where nothing certain is.

        A grammar holds from the first token on, so it fits whole answers only.
        """
        schema = self._schema()
        if schema is None:
            return None
        if self.thoughts is None:
            return {"json": schema}
        thought = {
            "type": "tag",
            "begin": "" if self.thoughts.opened else self.thoughts.open,
            "content": {"type": "any_text"},
            "end": self.thoughts.close,
        }
        parts = [thought, {"type": "json_schema", "json_schema": schema}]
        tag = {"type": "structural_tag", "format": {"type": "sequence", "elements": parts}}
        return {"structural_tag": json.dumps(tag)}

    def asked(self) -> dict[str, Any]:
        """The fields of OpenAI's protocol that demand the same."""
        found: dict[str, Any] = {}
        if isinstance(self.call, str):
            found["tool_choice"] = {"type": "function", "function": {"name": self.call}}
        elif self.call:
            found["tool_choice"] = "required"
        if self.tools and not self.parallel:
            found["parallel_tool_calls"] = False
        if self.json is not None:
            about = {"name": self.json.name, "schema": self.json.schema, "strict": self.json.strict}
            schema = self.json.schema is not None
            found["response_format"] = (
                {"type": "json_schema", "json_schema": about} if schema else {"type": "json_object"}
            )
        return found

    def demanded(self) -> Form:
        """The form for an answer that has to fit now: where JSON is asked for, no tool may be called."""
        return replace(self, tools={}, call=False) if self.json is not None and not self.call else self

    def _schema(self) -> dict[str, Any] | None:
        """JSON Schema of the content."""
        if self.call:
            names = [self.call] if isinstance(self.call, str) else list(self.tools)
            definitions: dict[str, Any] = {}
            calls = [_call_schema(name, self.tools[name], definitions) for name in names]
            one = calls[0] if len(calls) == 1 else {"anyOf": calls}
            several = self.parallel and self.call is True
            schema = {"type": "array", "items": one, "minItems": 1} if several else one
            return {**schema, "$defs": definitions} if definitions else schema
        if self.json is None or self.tools:
            return None
        return {"type": "object"} if self.json.schema is None else dict(self.json.schema)


def _call_schema(name: str, arguments: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a call; what the arguments define is put among the definitions of all."""
    try:
        inner = _moved(dict(arguments), name, definitions) if arguments else {"type": "object"}
    except ValueError:
        inner = {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": inner},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(part: Any, name: str, definitions: dict[str, Any]) -> Any:
    """A part of a schema with its definitions and references renamed.

    Raises:
        ValueError: it refers to something that is no definition.
    """
    if isinstance(part, list):
        return [_moved(each, name, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    found = {}
    for key, value in part.items():
        if key in ("$defs", "definitions") and isinstance(value, dict):
            for own, inner in value.items():
                definitions[f"{name}.{own}"] = _moved(inner, name, definitions)
        elif key == "$ref" and isinstance(value, str):
            head, _, own = value.rpartition("/")
            if head not in ("#/$defs", "#/definitions"):
                raise ValueError(f"{value} is no definition")
            found[key] = f"#/$defs/{name}.{own}"
        else:
            found[key] = _moved(value, name, definitions)
    return found
