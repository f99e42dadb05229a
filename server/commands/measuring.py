"""`mull bench` and `mull calibrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from mull.server.commands.common import (
    LOCAL,
    Key,
    MaxTokens,
    Model,
    Temperature,
    Url,
    each,
    errors,
    in_one_line,
    print_json,
)
from mull.server.exits import FAILED, USAGE, Failure

AsJson = Annotated[bool, typer.Option("--json", help="Print report.json instead of tables.")]


def bench(
    problems: Annotated[
        Path,
        typer.Argument(
            metavar="PROBLEMS",
            exists=True,
            dir_okay=False,
            help="JSON Lines with question, answer, n_steps (optional).",
        ),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of results, report and plot.")],
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STRATEGY:NAME=VALUE,...",
            help="What to measure, like best_of_n:n=16,verifier=orm or single:temperature=0; repeatable.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Measure one or two runs of every strategy of the server.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="STRATEGY", help="With --all, this strategy alone; repeatable."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="STRATEGY", help="With --all, all but this strategy; repeatable."),
    ] = None,
    budgets: Annotated[
        str, typer.Option(metavar="TOKENS,...", help="Measure every run at each of these budgets.")
    ] = "",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    repeat: Annotated[
        int, typer.Option(min=1, help="How often to solve each problem, each time with another seed.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of the first repetition.")] = 0,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Keep all samples, for pass@k, majority@k and best-of-k.")
    ] = False,
    as_json: AsJson = False,
    url: Url = LOCAL,
    model: Model = None,
    api_key: Key = None,
) -> None:
    """Measure accuracy against cost on a running server. Called again, it goes on where it stopped."""
    from mull.server.bench.problems import read_problems
    from mull.server.bench.spec import grid, parse_run

    fields = {"temperature": temperature, "max_tokens": max_tokens}
    given = {name: value for name, value in fields.items() if value is not None}
    if not run and not everything:
        raise typer.BadParameter("say what to measure, or measure everything with --all", param_hint="--run")
    if (only or skip) and not everything:
        raise typer.BadParameter("only go with --all", param_hint="--only and --skip")
    specs = each(parse_run, "--run", run or [])
    limits = each(_budget, "--budgets", [part for part in budgets.split(",") if part])
    with in_one_line():
        try:
            from mull.server.bench.command import Bench, bench
            from mull.server.bench.suite import Selection
        except ModuleNotFoundError as error:
            raise Failure(f"this needs the package {error.name}: pip install 'mull[bench]'", USAGE) from None
        try:
            asked = Bench(
                problems=read_problems(problems, limit),
                source=problems.name,
                runs=grid(specs, limits, given),
                suite=Selection(only=only or [], skip=skip or []) if everything else None,
                budgets=limits,
                sampling=given,
                out=out,
                url=url,
                model=model,
                api_key=api_key,
                concurrency=concurrency,
                repeats=repeat,
                seed=seed,
                candidates=candidates,
            )
            tables, complete = bench(asked, errors())
        except (ValueError, OSError) as error:
            raise Failure(str(error), USAGE) from None
    _print(out, tables, as_json=as_json)
    if not complete:
        raise typer.Exit(FAILED)


def calibrate(
    problems: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="JSON Lines with question and answer."),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of results, policy, report and plot.")],
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STRATEGY:NAME=VALUE,...",
            help="What to choose from, instead of the default grid; repeatable.",
        ),
    ] = None,
    signal: Annotated[
        Literal["agreement", "confidence", "score"],
        typer.Option(help="How the probe tells an easy problem from a hard one."),
    ] = "agreement",
    samples: Annotated[int, typer.Option(min=1, max=64, help="Answers that the probe draws.")] = 4,
    bins: Annotated[int, typer.Option(min=1, max=20, help="Most bins of difficulty.")] = 5,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the requests and of the folds.")] = 0,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None,
    as_json: AsJson = False,
    url: Url = LOCAL,
    model: Model = None,
    api_key: Key = None,
) -> None:
    """Fit what reasoning_effort means to a running server's models. Called again, it goes on."""
    from mull.server.bench.problems import read_problems
    from mull.server.bench.spec import parse_run

    fields = {"temperature": temperature, "max_tokens": max_tokens}
    specs = each(parse_run, "--run", run or [])
    with in_one_line():
        try:
            from mull.server.calibrate.command import Calibration, calibrate
            from mull.server.calibrate.probe import Probe
        except ModuleNotFoundError as error:
            raise Failure(f"this needs the package {error.name}: pip install 'mull[bench]'", USAGE) from None
        try:
            asked = Calibration(
                problems=read_problems(problems, limit),
                source=problems,
                runs=specs,
                sampling={name: value for name, value in fields.items() if value is not None},
                probe=Probe(signal=signal, samples=samples),
                bins=bins,
                folds=folds,
                out=out,
                url=url,
                model=model,
                api_key=api_key,
                concurrency=concurrency,
                seed=seed,
            )
            tables = calibrate(asked, errors())
        except (ValueError, OSError) as error:
            raise Failure(str(error), USAGE) from None
    _print(out, tables, as_json=as_json)


def _budget(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is no number of tokens")
    return int(text)


def _print(out: Path, tables: str, *, as_json: bool) -> None:
    if as_json:
        print_json(json.loads((out / "report.json").read_text("utf-8")))
    else:
        typer.echo(tables, nl=False)
