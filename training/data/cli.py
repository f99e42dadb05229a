"""Commands of `mull data` about rows: check them, split them, and make them from rollouts.

Exit code 2 says that a file or what is asked of it is wrong.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mull.training.data.kinds import Choice, Kind, Order
from mull.training.told import AsJson, tell, told

if TYPE_CHECKING:
    from mull.training.data.rows import Row

app = typer.Typer()

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON Lines.")]
Rollouts = Annotated[
    list[Path],
    typer.Argument(exists=True, dir_okay=False, help="Rollouts as JSON Lines; several files are merged."),
]
Out = Annotated[Path, typer.Option(help="File of the rows.")]
Seed = Annotated[int, typer.Option(help="Of all random choices.")]


def _write(out: Path, rows: "Sequence[Row]", as_json: bool) -> None:
    from mull.training.data.rows import write
    from mull.training.errors import TrainingError

    if not rows:
        raise TrainingError("these rollouts give no rows")
    write(out, rows)
    problems = len({row.problem for row in rows})
    line = f"{out}: {len(rows)} rows of {problems} problems"
    tell(line, as_json, file=str(out), rows=len(rows), problems=problems)


@app.command()
def check(
    file: File,
    kind: Annotated[Kind, typer.Option("--as", help="Format of the rows.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Evaluation problems, which may not be in the rows."),
    ] = None,
    overlap: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="A row holds a problem when it has this share of its runs of 13 words."
        ),
    ] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Report what is wrong with rows, by line; exit code 2 when they are not fit for training."""
    from rich.console import Console

    from mull.training.data.check import check
    from mull.training.data.rows import Problem, read

    with told():
        problems = [problem for path in against or () for problem in read(path, Problem)]
        report = check(file, kind, against=problems, overlap=overlap)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "fit": not report.fatal}, default=str, ensure_ascii=False))
    else:
        Console().print(report)
    if report.fatal:
        raise typer.Exit(2)


@app.command()
def split(
    file: File,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the problems to hold out.")] = 0.1,
    seed: Seed = 0,
    kind: Annotated[Kind, typer.Option("--as", help="Format of the rows.")] = "problem",
    as_json: AsJson = False,
) -> None:
    """Write NAME.train.jsonl and NAME.test.jsonl; all rows of a problem go into one of them."""
    from mull.training.data.problems import split
    from mull.training.data.rows import FORMATS, read, write

    with told():
        sides = split(read(file, FORMATS[kind]), seed, share)
    for name, rows in zip(("train", "test"), sides, strict=True):
        out = file.with_suffix(f".{name}.jsonl")
        count = write(out, rows)
        tell(f"{out}: {count} rows", as_json, file=str(out), rows=count)


@app.command()
def select(
    rollouts: Rollouts,
    out: Out,
    each: Annotated[int, typer.Option(min=1, help="Most samples of a problem.")] = 4,
    order: Annotated[Order, typer.Option(help="Which of them come first.")] = "random",
    hard_first: Annotated[
        bool, typer.Option("--hard-first", help="More of hard problems, which come first.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most rows altogether.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make `sft` rows of distinct right samples: rejection-sampling fine-tuning, or a teacher's answers."""
    from mull.training.data.rows import Rollout, read
    from mull.training.data.select import select

    with told():
        found = [rollout for path in rollouts for rollout in read(path, Rollout)]
        rows = select(found, each=each, order=order, hard_first=hard_first, limit=limit, seed=seed)
        _write(out, rows, as_json)


@app.command()
def pairs(
    rollouts: Rollouts,
    out: Out,
    target: Annotated[
        Literal["dpo", "kto", "orm", "difficulty", "verifier"],
        typer.Option("--for", help="What is to be trained; verifier: one that writes Yes or No."),
    ],
    by: Annotated[
        Literal["right", "score"],
        typer.Option(help="What tells samples apart: the reference answer, or the score of a judge (RLAIF)."),
    ] = "right",
    each: Annotated[int, typer.Option(min=1, help="Most pairs, or samples, of a problem.")] = 4,
    choose: Annotated[Choice, typer.Option(help="Which right and wrong samples are paired.")] = "random",
    margin: Annotated[
        float, typer.Option(min=0, help="Least difference of scores; without pairs half of it from 0.5.")
    ] = 0.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make rows of preferences, wanted answers, outcomes, difficulty or verdicts from judged samples."""
    if choose != "random" and (target != "dpo" or by == "score"):
        raise typer.BadParameter("--choose goes with --for dpo --by right only")
    if margin and by == "right":
        raise typer.BadParameter("--margin goes with --by score only")
    from mull.training.data import pairs as make
    from mull.training.data.rows import Rollout, read
    from mull.training.data.samples import liked

    rows: Sequence[Row]
    with told():
        found = [rollout for path in rollouts for rollout in read(path, Rollout)]
        if by == "score" and target != "dpo":
            found = liked(found, margin=margin)
        match target:
            case "dpo" if by == "score":
                rows = make.scored_preferences(found, each=each, margin=margin)
            case "dpo":
                rows = make.preferences(found, each=each, choose=choose, seed=seed)
            case "kto":
                rows = make.unpaired(found, each=each, seed=seed)
            case "orm":
                rows = make.outcomes(found, each=each, seed=seed)
            case "verifier":
                rows = make.verdicts(found, each=each, seed=seed)
            case "difficulty":
                rows = make.difficulties(found)
        _write(out, rows, as_json)
