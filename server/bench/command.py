"""The command from end to end: measure what is missing, then write report, table and plot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openai import AsyncOpenAI
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mull.server.bench import plot, report
from mull.server.bench.outcomes import Log, Outcome
from mull.server.bench.problems import Problem
from mull.server.bench.spec import RunSpec
from mull.server.bench.summary import compare, summarize
from mull.server.bench.sweep import Sweep, measure, served_model


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the command line says."""

    problems: Sequence[Problem]
    source: str
    """Name of the file that the problems come from."""
    runs: Sequence[RunSpec]
    out: Path
    url: str
    model: str | None
    api_key: str | None
    concurrency: int
    repeats: int
    seed: int
    candidates: bool


def bench(asked: Bench, console: Console) -> str:
    """Measure, write `report.json`, `report.md` and `accuracy-tokens.{png,svg}` into the folder.

    Returns:
        The report as Markdown.

    Raises:
        Failure: the server refused or does not answer; a second call goes on where this one ended.
        ValueError: the folder holds results that cannot be read.
    """
    asked.out.mkdir(parents=True, exist_ok=True)
    with Log(asked.out / "results.jsonl") as log:
        sweep = asyncio.run(_measure(asked, log, console))
        summaries = summarize(sweep, log)
    comparisons = compare(summaries)
    setting = {"source": asked.source, "url": asked.url, "concurrency": asked.concurrency}
    figures = report.as_json(sweep, summaries, comparisons, **setting)
    tables = report.as_markdown(summaries, comparisons)
    (asked.out / "report.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (asked.out / "report.md").write_text(tables, "utf-8")
    plot.draw(
        summaries,
        [asked.out / "accuracy-tokens.png", asked.out / "accuracy-tokens.svg"],
        title=f"{sweep.model} on {len(sweep.problems)} problems, with 95 % intervals",
    )
    return tables


async def _measure(asked: Bench, log: Log, console: Console) -> Sweep:
    # The SDK insists on a key even where the server wants none.
    async with AsyncOpenAI(base_url=asked.url, api_key=asked.api_key or "none", max_retries=4) as client:
        first = await served_model(client)  # asked in any case: a server that is not there is told at once
        sweep = Sweep(
            runs=asked.runs,
            problems=asked.problems,
            model=asked.model or first,
            repeats=asked.repeats,
            seed=asked.seed,
            candidates=asked.candidates,
        )
        with _bars(sweep, log, console) as told:
            await measure(sweep, log, client, concurrency=asked.concurrency, told=told)
    return sweep


@contextmanager
def _bars(sweep: Sweep, log: Log, console: Console) -> Iterator[Callable[[RunSpec, Outcome], None]]:
    """A bar a run, with its accuracy so far."""
    columns = (
        TextColumn("{task.fields[label]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[accuracy]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}
        right: dict[str, list[bool]] = {}
        for run in sweep.runs:
            done = right[run.label] = [outcome.correct for outcome in sweep.done(run, log)]
            total = len(sweep.problems) * sweep.repeats_of(run)
            bars[run.label] = progress.add_task(
                "", total=total, completed=len(done), label=run.label, accuracy=_share(done)
            )

        def told(run: RunSpec, outcome: Outcome) -> None:
            right[run.label].append(outcome.correct)
            progress.update(bars[run.label], advance=1, accuracy=_share(right[run.label]))

        yield told


def _share(right: Sequence[bool]) -> str:
    return f"{100 * sum(right) / len(right):.1f} % right" if right else ""
