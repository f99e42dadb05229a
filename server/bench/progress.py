"""How far a sweep has come, on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mull.server.bench.outcomes import Log, Outcome
from mull.server.bench.spec import RunSpec
from mull.server.bench.sweep import Sweep


@contextmanager
def bars(sweep: Sweep, log: Log, console: Console) -> Iterator[Callable[[RunSpec, Outcome], None]]:
    """A bar a run, with its accuracy so far."""
    columns = (
        TextColumn("{task.fields[label]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[accuracy]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        shown: dict[str, TaskID] = {}
        right: dict[str, list[bool]] = {}
        for run in sweep.runs:
            done = right[run.label] = [outcome.correct for outcome in sweep.done(run, log)]
            total = len(sweep.problems) * sweep.repeats_of(run)
            shown[run.label] = progress.add_task(
                "", total=total, completed=len(done), label=run.label, accuracy=_share(done)
            )

        def told(run: RunSpec, outcome: Outcome) -> None:
            right[run.label].append(outcome.correct)
            progress.update(shown[run.label], advance=1, accuracy=_share(right[run.label]))

        yield told


def _share(right: Sequence[bool]) -> str:
    return f"{100 * sum(right) / len(right):.1f} % right" if right else ""
