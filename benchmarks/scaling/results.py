"""The figures on disk, from which page and plots are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.performance import results as performance
from benchmarks.scaling.cluster import Costs
from benchmarks.scaling.costs import StepCost
from benchmarks.scaling.engine import EngineLimits

FILE = Path(__file__).parent / "results.json"


def read(file: Path = FILE) -> dict[str, Any]:
    """What is known."""
    return performance.read(file)


def keep(part: str, found: dict[str, Any], file: Path = FILE) -> None:
    """Replace what is known of one part."""
    known = read(file) | {part: performance.conditions() | found}
    file.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


def costs(known: dict[str, Any]) -> Costs:
    """What was measured.

    Raises:
        KeyError: nothing was.
    """
    measured = known["measure"]["costs"]
    return Costs(**measured | {"step": StepCost(**measured["step"])})


def limits(known: dict[str, Any]) -> EngineLimits:
    """Of the engines that were measured.

    Raises:
        KeyError: none were.
    """
    return EngineLimits(**known["measure"]["limits"])
