"""Sampling fields beside those of `Sampling` that a request may set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mull.errors import InvalidRequest, one_of
from mull.types import Sampling

VLLM = frozenset(
    {
        "allowed_token_ids",
        "bad_words",
        "frequency_penalty",
        "ignore_eos",
        "logit_bias",
        "min_tokens",
        "presence_penalty",
        "repetition_penalty",
        "response_format",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "thinking_token_budget",
    }
)
"""What vLLM takes, in this process and over HTTP."""

OWN = frozenset({"messages", "model", "n", "prompt", "stop", "stream", "stream_options", "tools"})
"""What only mull may set in a request to another server."""


def constrained(sampling: Sampling) -> dict[str, Any]:
    """VLLM's own fields of a request, with the constraint that its form sets."""
    constraint = sampling.form.constraint()
    return {**sampling.extra, **({} if constraint is None else {"structured_outputs": constraint})}


def vllm_fields(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are set; vLLM's server would silently ignore unknown ones.

    Raises:
        InvalidRequest: naming an unknown field.
    """
    for name in extra:
        if name not in VLLM:
            raise InvalidRequest(f"unknown field {name!r}; known are {one_of(VLLM)}", param=name)
    return {name: value for name, value in extra.items() if value is not None}


def other_fields(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The fields for a server of unknown make, which judges them itself.

    Raises:
        InvalidRequest: naming a field that is not the caller's to set.
    """
    for name in extra:
        if name in OWN:
            raise InvalidRequest(f"field {name!r} cannot be set here", param=name)
    return dict(extra)
