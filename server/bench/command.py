"""The command from end to end: measure what is missing, then write report, table and plot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from rich.console import Console

from mull.server.bench import plot, report
from mull.server.bench.offered import offered
from mull.server.bench.outcomes import Log
from mull.server.bench.problems import Problem
from mull.server.bench.progress import bars
from mull.server.bench.spec import RunSpec, grid
from mull.server.bench.suite import Selection, suite
from mull.server.bench.summary import compare, summarize
from mull.server.bench.sweep import Sweep, measure
from mull.server.bench.upstream import Refused, served_model
from mull.server.exits import Failure


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the command line says."""

    problems: Sequence[Problem]
    source: str
    """Name of the file that the problems come from."""
    runs: Sequence[RunSpec]
    suite: Selection | None = None
    """Which of the standard runs to measure too."""
    budgets: Sequence[int] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Sampling fields of all runs that do not set them."""
    out: Path
    url: str
    model: str | None
    api_key: str | None
    concurrency: int
    repeats: int
    seed: int
    candidates: bool


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The runs that the server answered, and why there are no others."""

    sweep: Sweep
    skipped: Mapping[str, str]
    """Strategies and runs of the suite that could not be measured."""
    refused: bool
    """Whether the server refused some of them only when asked."""


def bench(asked: Bench, console: Console) -> tuple[str, bool]:
    """Measure, write `report.json`, `report.md` and `accuracy-tokens.{png,svg}` into the folder.

    A run of the suite that the server refuses is left out and named in the report; one that was asked for
    by itself ends the command.

    Returns:
        The report as Markdown, and whether the server answered all that was asked.

    Raises:
        Failure: the server refused or does not answer; a second call goes on where this one ended.
        ValueError: the folder holds results that cannot be read, or the suite is asked for a strategy
            that the server does not know.
    """
    asked.out.mkdir(parents=True, exist_ok=True)
    with Log(asked.out / "results.jsonl") as log:
        measured = asyncio.run(_measure(asked, log, console))
        sweep = measured.sweep
        summaries = summarize(sweep, log)
    comparisons = compare(summaries)
    setting = {"source": asked.source, "url": asked.url, "concurrency": asked.concurrency}
    figures = report.as_json(sweep, summaries, comparisons, **setting, skipped=measured.skipped)
    tables = report.as_markdown(
        sweep,
        summaries,
        comparisons,
        source=asked.source,
        sampling=asked.sampling,
        skipped=measured.skipped,
    )
    (asked.out / "report.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (asked.out / "report.md").write_text(tables, "utf-8")
    plot.draw(
        summaries,
        [asked.out / "accuracy-tokens.png", asked.out / "accuracy-tokens.svg"],
        title=f"{sweep.model} on {len(sweep.problems)} problems, with 95 % intervals",
    )
    return tables, not measured.refused


async def _measure(asked: Bench, log: Log, console: Console) -> Measured:
    # The SDK insists on a key even where the server wants none.
    async with AsyncOpenAI(base_url=asked.url, api_key=asked.api_key or "none", max_retries=4) as client:
        first = await served_model(client)  # asked in any case: a server that is not there is told at once
        model = asked.model or first
        standard, skipped = list[RunSpec](), dict[str, str]()
        if asked.suite is not None:
            runs, skipped = suite(await offered(client), model, asked.suite)
            known = {run.text for run in asked.runs}
            standard = [r for r in grid(runs, asked.budgets, asked.sampling) if r.text not in known]
        sweep = Sweep(
            runs=[*asked.runs, *standard],
            problems=asked.problems,
            model=model,
            repeats=asked.repeats,
            seed=asked.seed,
            candidates=asked.candidates,
        )
        refused: dict[str, str] = {}

        def told_no(run: RunSpec, error: Refused) -> None:
            if run in asked.runs:
                raise error
            console.print(f"mull: {error.message}", markup=False, soft_wrap=True)
            refused[run.label] = error.message.removeprefix(f"{run.label}: ")

        with bars(sweep, log, console) as told:
            await measure(sweep, log, client, concurrency=asked.concurrency, told=told, refused=told_no)
    done = [run for run in sweep.runs if run.label not in refused]
    if not done:
        why = "; ".join(f"{name} {reason}" for name, reason in (skipped | refused).items())
        raise Failure(f"nothing could be measured: {why}")
    return Measured(sweep=replace(sweep, runs=done), skipped=skipped | refused, refused=bool(refused))
