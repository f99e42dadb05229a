"""A policy as the preset of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mull.server.bench.spec import RunSpec
from mull.server.calibrate.policy import Policy
from mull.server.calibrate.probe import Probe


def as_preset(policy: Policy, cells: Sequence[RunSpec], probe: Probe) -> dict[str, Any]:
    """`adaptive` with a level a bin; a policy of one choice is that choice, without a probe."""
    used = [cells[cell] for cell in policy.cells]
    if not policy.probes:
        (run,) = used
        named = {"verifier": run.verifier} if run.verifier else {}
        return {"strategy": run.strategy, "parameters": dict(run.parameters), **named, **_budget(run)}
    verifier = next((run.verifier for run in cells if run.verifier), None)
    levels = [
        {"at_least": bound, "inner": _inner(run)} for bound, run in zip(policy.lower, used, strict=True)
    ]
    parameters = {"samples": probe.samples, "signal": probe.signal, "levels": levels}
    named = {"verifier": verifier} if verifier else {}
    return {"strategy": "adaptive", "parameters": parameters, **named}


def _inner(run: RunSpec) -> dict[str, Any]:
    return {"strategy": run.strategy, **run.parameters, **_budget(run)}


def _budget(run: RunSpec) -> dict[str, Any]:
    return {"budget": dict(run.budget)} if run.budget else {}
