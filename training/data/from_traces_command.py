"""`mull data from-traces`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mull.training.told import AsJson, tell, told


def from_traces_command(
    place: Annotated[
        str, typer.Argument(metavar="DIR|URL", help="`traces.dir` of a server, or `store.url` of several.")
    ],
    purpose: Annotated[
        Literal["prm", "orm", "dpo", "grpo", "sft"], typer.Option("--for", help="What is to be trained.")
    ],
    out: Annotated[Path, typer.Option(help="File of the rows.")],
    labels: Annotated[
        Literal["reference", "feedback", "consensus"] | None,
        typer.Option(help="The only way to know what is right; the best there is when not given."),
    ] = None,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a search's answers that a consensus needs.")
    ] = 0.7,
    hard: Annotated[
        bool, typer.Option("--hard", help="prm: a step is good if any answer that goes on from it is right.")
    ] = False,
    pairs: Annotated[int, typer.Option(min=1, help="dpo: most pairs of a search.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Make training rows from the searches that a server kept; what is left out is counted."""
    import asyncio

    from mull.training.data.from_traces import harvest
    from mull.training.data.rows import write

    with told():
        found = asyncio.run(
            harvest(place, purpose, labels=labels, min_agreement=min_agreement, hard=hard, pairs=pairs)
        )
        if found.rows:
            write(out, found.rows)
    used = ", ".join(f"{count} by {how}" for how, count in found.used.most_common()) or "none"
    lines = [f"{len(found.rows)} rows from {found.traces} traces; used: {used}"]
    lines += [f"  left out {count}: {reason}" for reason, count in found.dropped.most_common()]
    tell(
        "\n".join([*lines, *([f"{out} is written"] if found.rows else [])]),
        as_json,
        file=str(out) if found.rows else None,
        rows=len(found.rows),
        traces=found.traces,
        used=found.used,
        left_out=found.dropped,
    )
    if not found.rows:
        typer.echo(f"mull: these traces give no rows for {purpose}; {out} is not written", err=True)
        raise typer.Exit(1)
