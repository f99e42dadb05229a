"""Measure 11: how little is enough, by `mull bench` on held-out problems."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.performance.figures import Figure, Found, Spread, Target
from benchmarks.performance.problems import MODELS, MULL, lines
from benchmarks.performance.servers import serving

from mull.server.bench.spec import RunSpec

PROBLEMS = 100
ADAPTIVE, BEST = "adaptive", "best of 64"
PREDICTIVE = "adaptive_consistency with rule predictive, batch 2"
STOPPING = {
    PREDICTIVE: "adaptive_consistency:n=64,rule=predictive,batch=2",
    "adaptive_consistency": "adaptive_consistency:n=64",
    "early_stopping": "early_stopping:n=64",
}
"""Runs by their names. The target is for the best of them; the others are as in their papers."""


async def measure(rounds: int) -> Found:
    """Solve the same problems in each way, once: accuracy and tokens do not depend on what else runs."""
    with TemporaryDirectory(prefix="mull-") as folder:
        problems = Path(folder) / "problems.jsonl"
        problems.write_text("\n".join(lines(PROBLEMS)) + "\n")
        async with serving() as server:
            command = [*MULL, "bench", str(problems), "--url", f"{server.url}/v1"]
            command += ["--out", folder, "--candidates", *(f"--run={run}" for run in runs())]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
            if await process.wait():
                raise RuntimeError("mull bench failed")
        return compared(json.loads((Path(folder) / "report.json").read_text()))


def runs() -> Sequence[str]:
    """What is measured, as `mull bench --run` takes it."""
    preset = json.loads((MODELS / "calibration.json").read_text())["presets"]["effort-medium"]
    fitted = RunSpec(strategy=preset["strategy"], parameters=preset["parameters"]).text
    limited = [f'{run},label="{name}"' for name, run in STOPPING.items()]
    return [f"best_of_n:n=64,label={BEST}", f"{fitted},label={ADAPTIVE}", *limited]


def compared(report: Mapping[str, Any]) -> Found:
    """The figures of a report of `mull bench`."""
    by_name = {run["run"]: run for run in report["runs"]}
    best, ours = by_name[BEST], by_name[ADAPTIVE]
    at_64 = next(at for at in best["at_k"] if at["k"] == 64)
    figures = [
        Figure(
            measure=11,
            what="`adaptive` as fitted (effort medium), against `best_of_n` with 64",
            value=_one(ours["tokens"]["value"] / best["tokens"]["value"]),
            ours=ours["tokens"]["value"],
            limit=best["tokens"]["value"],
            sides="tokens",
            target=Target(bound=0.25, side="at most"),
            note=f"accuracy {_percent(ours['accuracy'])} and {_percent(best['accuracy'])}",
        )
    ]
    for name in STOPPING:
        run = by_name[name]
        figures.append(
            Figure(
                measure=11,
                what=f"{described(name)} of up to 64, against `majority_vote` of 64",
                value=_one(run["engine_calls"]["value"] / 64),
                ours=run["engine_calls"]["value"],
                limit=64,
                sides="samples",
                target=Target(bound=0.3, side="at most") if name == PREDICTIVE else None,
                note=f"accuracy {_percent(run['accuracy'])} and {_percent(at_64['majority'])}",
            )
        )
    return Found(figures=figures)


def described(run: str) -> str:
    """A run's name with what is code marked as such."""
    strategy, *rest = run.split(" with ")
    return f"`{strategy}`" + (" with `rule` predictive, `batch` 2" if rest else "")


def _one(value: float) -> Spread:
    return Spread.of([value])


def _percent(estimate: Mapping[str, float]) -> str:
    value, low, high = (100 * estimate[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"
