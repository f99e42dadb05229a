"""What a server says it can do: its strategies, and where and on what conditions they work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI

from mull.server.bench.upstream import refusals
from mull.server.exits import Failure


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One strategy as `GET /v1/ttc/strategies` lists it."""

    name: str
    models: Sequence[str]
    """The models that it works with on this server."""
    needs: Mapping[str, Any]
    """What it works only with, like `{"verifier": "process"}`; a value of none or false asks for nothing."""
    required: Sequence[str]
    """Parameters that have no default."""

    def missing(self, model: str) -> str | None:
        """Why it does not work with a model here; None where it does."""
        if model in self.models:
            return None
        needs = [_need(name, value) for name, value in self.needs.items() if value]
        return f"does not work with {model} here" + (f": it needs {' and '.join(needs)}" if needs else "")


async def offered(client: AsyncOpenAI) -> dict[str, Offer]:
    """The strategies of a server, by name.

    Raises:
        Failure: no server answers, it refuses, or it is not mull.
    """
    with refusals(client):
        listed: Any = await client.get("/ttc/strategies", cast_to=object)
    try:
        found = [_offer(row) for row in listed["data"]]
    except (LookupError, TypeError, AttributeError):
        raise Failure(f"{client.base_url} does not list its strategies; is it mull?") from None
    return {offer.name: offer for offer in found}


def _offer(row: Mapping[str, Any]) -> Offer:
    return Offer(
        name=row["name"],
        models=row["models"],
        needs=row.get("needs", {}),
        required=row["parameters"].get("required", []),
    )


def _need(name: str, value: Any) -> str:
    if name == "continues":
        return "an engine that continues a partial answer"
    return f"a {name}" if value is True else f"a {name} ({value})"
