"""Errors in Anthropic's shape."""

from __future__ import annotations

from typing import Any

from mull.errors import MullError
from mull.server.errors import body_of

PATH = "/v1/messages"

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}
"""By status; all others are the request's fault."""


def error_of(error: MullError) -> dict[str, Any]:
    """The error object that Anthropic's clients understand, with the field that is meant."""
    told = body_of(error)["error"]
    kind = TYPES.get(error.status, "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": told["message"], "param": told["param"], "code": told["code"]},
    }


def body_for(path: str, error: MullError) -> dict[str, Any]:
    """The error as the clients of a route understand it."""
    return error_of(error) if path.startswith(PATH) else body_of(error)
