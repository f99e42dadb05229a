"""What to measure: a strategy with its parameters, sampling and budget, in one line of text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mull.server.bench.text import parts, read, written

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "max_tokens")
"""Keys of a run that are fields of the request itself."""
BUDGET = {"budget_tokens": "tokens", "budget_seconds": "seconds", "budget_samples": "samples"}
"""Keys of a run that limit what it may spend."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One thing to measure; every problem is solved with it."""

    strategy: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    verifier: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    model: str | None = None
    """The served model; the command's where None."""
    name: str | None = None
    """Its own short name (`label=` in text), where the text would be too long for a table."""

    @property
    def label(self) -> str:
        """How tables and plots name it: `beam_search:width=4,expand=4`, or the name it was given."""
        budget = "".join(f",budget_{name}={limit}" for name, limit in self.budget.items())
        return self.text if self.name is None else self.name + budget

    @property
    def text(self) -> str:
        """The run as `parse_run` reads it, without its name."""
        values = ",".join(f"{name}={written(value)}" for name, value in self._given().items())
        return f"{self.strategy}:{values}" if values else self.strategy

    def _given(self) -> dict[str, Any]:
        return {
            **self.parameters,
            **({"verifier": self.verifier} if self.verifier else {}),
            **self.sampling,
            **{f"budget_{name}": limit for name, limit in self.budget.items()},
            **({"model": self.model} if self.model else {}),
        }

    @property
    def deterministic(self) -> bool:
        """Whether asking twice gives the same answer, so that repeating it measures nothing."""
        return self.sampling.get("temperature") == 0

    def request(self, *, model: str, candidates: bool) -> dict[str, Any]:
        """The request's fields, without messages and seed."""
        ttc: dict[str, Any] = {"strategy": self.strategy, **self.parameters}
        if self.verifier:
            ttc["verifier"] = self.verifier
        if self.budget:
            ttc["budget"] = dict(self.budget)
        if candidates:
            ttc["include"] = ["candidates"]
        return {"model": self.model or model, **self.sampling, "ttc": ttc}


def parse_run(text: str) -> RunSpec:
    r"""Read `strategy:key=value,key=value`.

    `verifier`, `model`, sampling fields (`temperature`, `top_p`, `top_k`, `min_p`, `max_tokens`) and budgets
    (`budget_tokens`, `budget_seconds`, `budget_samples`) mean what they do in a request, `label` is how
    tables name the run; all other keys are parameters of the strategy, which the server checks. Values are
    JSON where they can be, so that a strategy goes into another as
    `cascade:inner={"strategy":"majority_vote","n":4}`. A text with a comma or bracket goes in double quotes.

    Raises:
        ValueError: what is wrong with it.
    """
    strategy, _, rest = text.strip().partition(":")
    if not re.fullmatch(r"[\w.-]+", strategy):
        raise ValueError(f"{text!r} does not begin with a strategy's name, like best_of_n:n=16,verifier=orm")
    spec: dict[str, dict[str, Any]] = {"parameters": {}, "sampling": {}, "budget": {}}
    names: dict[str, str] = {}
    seen: set[str] = set()
    for part in parts(rest):
        name, value = read(part)
        if name in seen:
            raise ValueError(f"{text!r} gives {name} twice")
        seen.add(name)
        if name in ("verifier", "model", "label"):
            names["name" if name == "label" else name] = str(value)
        elif name in BUDGET:
            spec["budget"][BUDGET[name]] = value
        else:
            spec["sampling" if name in SAMPLING else "parameters"][name] = value
    return RunSpec(
        strategy=strategy,
        verifier=names.get("verifier"),
        model=names.get("model"),
        name=names.get("name"),
        **spec,
    )


def grid(runs: Sequence[RunSpec], budgets: Sequence[int], sampling: Mapping[str, Any]) -> list[RunSpec]:
    """Every run at every budget of tokens, with the sampling fields that a run does not set itself.

    Raises:
        ValueError: two of the runs are the same.
    """
    filled = [replace(run, sampling={**sampling, **run.sampling}) for run in runs]
    cells = [replace(run, budget={**run.budget, "tokens": b}) for run in filled for b in budgets] or filled
    for texts in ([cell.label for cell in cells], [cell.text for cell in cells]):
        if twice := [text for text in texts if texts.count(text) > 1]:
            raise ValueError(f"{twice[0]} is asked for twice")
    return cells


def digest(*parts: Any) -> str:
    """A short name for what has the same content."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
