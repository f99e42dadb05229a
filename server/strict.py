"""The base of what requests are made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """No coercion of types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
