"""The command from end to end: measure what is missing, fit, validate, and write policy, report and plot."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from rich.console import Console

from mull.server.bench.offered import offered
from mull.server.bench.outcomes import Log
from mull.server.bench.problems import Problem
from mull.server.bench.progress import bars
from mull.server.bench.spec import RunSpec
from mull.server.bench.summary import summarize
from mull.server.bench.sweep import Sweep, measure
from mull.server.bench.upstream import served_model
from mull.server.calibrate import plot, report
from mull.server.calibrate.fit import curve, levels
from mull.server.calibrate.fitted import Fitted
from mull.server.calibrate.grid import Grid, default_runs, plan, tabulate
from mull.server.calibrate.probe import Probe
from mull.server.calibrate.validate import cross_validated, in_sample


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the command line says."""

    problems: Sequence[Problem]
    source: Path
    runs: Sequence[RunSpec]
    """What to choose from; the default grid when empty."""
    sampling: Mapping[str, Any]
    probe: Probe
    bins: int
    folds: int
    out: Path
    url: str
    model: str | None
    api_key: str | None
    concurrency: int
    seed: int


def calibrate(asked: Calibration, console: Console) -> str:
    """Write `policy.json`, `report.json`, `report.md` and `accuracy-tokens.{png,svg}` into the folder.

    Returns:
        The report as Markdown.

    Raises:
        Failure: the server refused or does not answer; a second call goes on where this one ended.
        ValueError: the runs cannot make up a policy, or the folder holds results that cannot be read.
    """
    if not 2 <= asked.folds <= len(asked.problems):
        raise ValueError(f"{len(asked.problems)} problems cannot be split into {asked.folds} folds")
    asked.out.mkdir(parents=True, exist_ok=True)
    with Log(asked.out / "results.jsonl") as log:
        sweep, runs, skipped = asyncio.run(_measure(asked, log, console))
        table = tabulate(runs, asked.probe, sweep, log)
        summaries = summarize(sweep, log)
    points = curve(table, asked.bins)
    fitted = Fitted(
        runs=runs,
        probe=asked.probe,
        table=table,
        summaries=summaries,
        points=points,
        levels=levels(points),
        in_sample=in_sample(table, asked.bins),
        held_out=cross_validated(table, asked.bins, folds=asked.folds, seed=asked.seed),
        bins=asked.bins,
        folds=asked.folds,
    )
    digest = hashlib.sha256(asked.source.read_bytes()).hexdigest()
    provenance = {
        "problems": {"file": asked.source.name, "sha256": digest, "count": len(asked.problems)},
        "model": sweep.model,
        "seed": asked.seed,
        "sampling": dict(asked.sampling),
        "url": asked.url,
    }
    policy = report.as_policy(fitted, provenance)
    figures = report.as_json(fitted, policy, skipped)
    tables = report.as_markdown(fitted, skipped, asked.out / "policy.json")
    for name, content in {"policy.json": policy, "report.json": figures}.items():
        (asked.out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (asked.out / "report.md").write_text(tables, "utf-8")
    plot.draw(
        fitted,
        [asked.out / "accuracy-tokens.png", asked.out / "accuracy-tokens.svg"],
        title=f"{sweep.model} on {len(asked.problems)} problems",
    )
    return tables


async def _measure(asked: Calibration, log: Log, console: Console) -> tuple[Sweep, Grid, dict[str, str]]:
    # The SDK insists on a key even where the server wants none.
    async with AsyncOpenAI(base_url=asked.url, api_key=asked.api_key or "none", max_retries=4) as client:
        first = await served_model(client)
        model = asked.model or first
        runs, skipped = list(asked.runs), dict[str, str]()
        if not runs:
            runs, skipped = default_runs(await offered(client), model)
        chosen = plan(runs, asked.sampling, asked.probe)
        sweep = Sweep(
            runs=chosen.runs, problems=asked.problems, model=model, seed=asked.seed, candidates=True
        )
        with bars(sweep, log, console) as told:
            await measure(sweep, log, client, concurrency=asked.concurrency, told=told)
    return sweep, chosen, skipped
