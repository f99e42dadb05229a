"""What the OpenAPI document says of routes that read their bodies themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is `model`."""
    body = {"content": {"application/json": {"schema": _inlined(model)}}, "required": True}
    return {"requestBody": body}


def _inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON Schema without references, which would point nowhere inside an OpenAPI document."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(part: Any) -> Any:
        if isinstance(part, dict) and "$ref" in part:
            return inline(definitions[part["$ref"].rsplit("/", 1)[-1]])
        if isinstance(part, dict):
            return {key: inline(value) for key, value in part.items()}
        return [inline(value) for value in part] if isinstance(part, list) else part

    found: dict[str, Any] = inline(schema)
    return found
