"""Commands of `mull data` and `mull train`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mull.training.data.cli import app as rows_app
from mull.training.data.drawing import app as drawing_app
from mull.training.data.from_traces_command import from_traces_command
from mull.training.told import AsJson, told

if TYPE_CHECKING:
    from mull.training.bundled.loop import Report


class RecipeGroup(TyperGroup):
    """Takes a file where a command is expected: `mull train RECIPE.yaml` is `mull train run RECIPE.yaml`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] not in self.commands and args[0].endswith((".yaml", ".yml")):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


data_app = typer.Typer(help="Make training and evaluation data.", no_args_is_help=True)
train_app = typer.Typer(
    help="Train by a recipe (`mull train RECIPE.yaml`), or one of the bundled models from scratch.",
    cls=RecipeGroup,
    no_args_is_help=True,
)

Seed = Annotated[int, typer.Option(help="Everything follows from it: data, order and initial weights.")]
Tokens = Annotated[int, typer.Option(min=1, help="Length of the training, in tokens.")]
Decay = Annotated[int, typer.Option(min=0, help="Tokens at the end over which the learning rate falls.")]
Resume = Annotated[bool, typer.Option(help="Go on from the last checkpoint, when there is one.")]
Run = Annotated[Path, typer.Option(help="Folder of the checkpoints.")]
Policy = Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the trained policy.")]


data_app.add_typer(rows_app)
data_app.add_typer(drawing_app)
data_app.command("from-traces")(from_traces_command)


@data_app.callback()
def data() -> None:
    """Make training and evaluation data."""


@data_app.command()
def problems(
    seed: Annotated[int, typer.Option(help="Stream of the problems.")] = 1,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    start: Annotated[int, typer.Option(min=0, help="Number of the first one in the stream.")] = 0,
    min_steps: Annotated[int, typer.Option(min=1, max=10, help="Fewest solution steps.")] = 2,
    max_steps: Annotated[int, typer.Option(min=1, max=10, help="Most solution steps.")] = 10,
) -> None:
    """Print word problems with answers and reference steps as JSON Lines."""
    from mull.training.bundled.problems import generate, to_row

    if min_steps > max_steps:
        raise typer.BadParameter("--min-steps is larger than --max-steps")
    for problem in generate(seed, count, start=start, min_steps=min_steps, max_steps=max_steps):
        typer.echo(json.dumps(to_row(problem), ensure_ascii=False))


@contextmanager
def _progress(name: str, total: int) -> Iterator["Report"]:
    """A progress bar in tokens, told by the training loop."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        bar = progress.add_task(name, total=total, figures="")

        def report(tokens: int, loss: float, seconds: float) -> None:
            figures = (
                f"{tokens / 1e6:.2f}M tokens  loss {loss:.3f}  {tokens / max(seconds, 1e-9):.0f} tokens/s"
            )
            progress.update(bar, completed=tokens, figures=figures)

        yield report


@train_app.command("run", hidden=True)
def run_recipe(
    recipe: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The recipe, a YAML file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check: data, parameters, memory; train nothing.")
    ] = False,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Another value, as in training.steps=10."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is said as JSON Lines.")] = False,
) -> None:
    """Train by a recipe; run it again after a kill and it goes on."""
    from mull.training.config import load
    from mull.training.progress import Progress

    with told(), Progress() as progress:
        from mull.training.runner import dry, run

        def say_json(line: str) -> None:
            typer.echo(json.dumps({"said": line}, ensure_ascii=False))

        say = say_json if as_json else progress.say
        read = load(recipe, change or ())
        if dry_run:
            dry(read, say=say)
            return
        model = run(read, say=say, callbacks=[progress.callback()])
        if as_json:
            typer.echo(json.dumps({"model": str(model)}))


@train_app.command()
def policy(
    out: Annotated[Path, typer.Option(help="Folder of the model.")] = Path("models/policy"),
    run: Run = Path("runs/policy"),
    seed: Seed = 1,
    tokens: Tokens = 10_000_000,
    turn_tokens: Annotated[
        int,
        typer.Option(min=1, help="Length of the second phase, which teaches to judge answers, in tokens."),
    ] = 5_100_000,
    resume: Resume = True,
) -> None:
    """Train the policy: a small solver that is often, not always, right, and can check and revise answers."""
    from mull.training.bundled.policy import train_policy

    with _progress("policy", tokens + turn_tokens) as report:
        train_policy(
            out, run, seed=seed, tokens=tokens, turn_tokens=turn_tokens, resume=resume, report=report
        )


@train_app.command()
def solver(run: Run = Path("runs/policy"), seed: Seed = 1, tokens: Tokens = 10_600_000) -> None:
    """Continue the policy's run to the stronger solver that the verifiers grow from."""
    from mull.training.bundled.policy import train_solver

    with _progress("solver", tokens) as report:
        train_solver(run, seed=seed, tokens=tokens, resume=True, report=report)


@train_app.command()
def prm(
    out: Annotated[Path, typer.Option(help="Folder of the model.")] = Path("models/prm"),
    run: Run = Path("runs/prm"),
    policy: Policy = Path("models/policy"),
    solver: Annotated[Path, typer.Option(exists=True, help="Checkpoint of the solver.")] = Path(
        "runs/policy/last.pt"
    ),
    seed: Seed = 3,
    tokens: Tokens = 8_400_000,
    decay: Decay = 3_300_000,
    resume: Resume = True,
) -> None:
    """Train the process reward model, which scores each step."""
    from mull.training.bundled.prm import train_prm

    with _progress("prm", tokens) as report:
        train_prm(
            out,
            run,
            policy=policy,
            solver=solver,
            seed=seed,
            tokens=tokens,
            decay=decay,
            resume=resume,
            report=report,
        )


@train_app.command()
def likelihood(
    prm: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the PRM.")] = Path(
        "models/prm"
    ),
    out: Annotated[Path, typer.Option(help="Folder of the model.")] = Path("models/solver"),
) -> None:
    """Write the PRM's language model, the solver whose likelihood is the default verifier."""
    from mull.training.bundled.likelihood import export_solver

    export_solver(prm, out)


@train_app.command()
def orm(
    out: Annotated[Path, typer.Option(help="Folder of the model.")] = Path("models/orm"),
    prm: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the PRM.")] = Path(
        "models/prm"
    ),
) -> None:
    """Derive the outcome reward model, which scores a finished solution, from the process reward model."""
    from mull.training.bundled.orm import make_orm

    make_orm(out, prm)


@train_app.command()
def evaluate(
    models: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the four models.")
    ] = Path("models"),
    problems: Annotated[int, typer.Option(min=1, help="How many held-out problems.")] = 500,
    samples: Annotated[int, typer.Option(min=16, help="Samples of each.")] = 64,
    out: Annotated[Path, typer.Option(help="All figures as JSON.")] = Path("runs/figures.json"),
    cards: Annotated[bool, typer.Option(help="Write the figures into the models' cards.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure policy and verifiers on problems that no training saw; fails when no verifier helps."""
    from rich.console import Console
    from rich.table import Table

    from mull.training.bundled import report as reports

    report = reports.measure(models, problems=problems, samples=samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    reports.save(report, out)
    if cards:
        reports.write_cards(report, models)
    if as_json:
        typer.echo(out.read_text())
    else:
        table = Table("model", "figure", "value", "95 % interval")
        for model, figures in report.figures.items():
            for name, figure in figures.items():
                table.add_row(model, name, f"{figure.value:.3f}", f"{figure.low:.3f} to {figure.high:.3f}")
        Console().print(table)
    if not any(report.helps(verifier) for verifier in ("solver", "prm", "orm")):
        raise typer.Exit(1)
