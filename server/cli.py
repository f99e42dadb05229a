"""The `mull` command. What a subcommand needs is imported when it runs, so that all of them start at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from mull.server.exits import FAILED, INTERRUPTED, USAGE, Failure
from mull.training.cli import data_app, train_app

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

app = typer.Typer(
    help="An OpenAI-compatible server that spends test-time compute, and what goes with it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers, 130 interrupted.",
)
app.add_typer(data_app, name="data", help="Make training and evaluation data.")
app.add_typer(train_app, name="train", help="Train the bundled models from scratch on a CPU.")

Url = Annotated[str, typer.Option(envvar="MULL_URL", help="The API to talk to.")]
Key = Annotated[
    str | None, typer.Option(envvar="MULL_API_KEY", help="Its key, where it wants one.", show_default=False)
]
Model = Annotated[str | None, typer.Option(help="The model; the server's first one when not given.")]
Temperature = Annotated[
    float | None, typer.Option(min=0, max=2, help="The model's own setting when not given.")
]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")]

LOCAL = "http://127.0.0.1:8000/v1"


def main() -> None:
    """Run the command line."""
    app(prog_name="mull")


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """An OpenAI-compatible server that spends test-time compute, and what goes with it."""
    if version:
        import mull

        typer.echo(f"mull {mull.__version__}")
        raise typer.Exit


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option(help="TOML file; without one the bundled models are served.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Policy that `mull calibrate` wrote, for reasoning_effort.")
    ] = None,
) -> None:
    """Start the server."""
    from mull.server.serve import serve
    from mull.server.settings import ConfigurationError, load

    fields = {"host": host, "port": port, "calibration": calibration}
    given = {name: value for name, value in fields.items() if value is not None}
    with _in_one_line():
        try:
            settings = load(config, **given)
        except ConfigurationError as error:
            raise Failure(error.message, USAGE) from None
    raise typer.Exit(serve(settings))


@app.command()
def verifier(
    model: Annotated[str, typer.Option(help="Folder or Hugging Face name of the model.")],
    kind: Annotated[Literal["prm", "orm", "likelihood", "generative"], typer.Option(help="What it is.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8001,
    name: Annotated[
        str | None, typer.Option(help="How errors and metrics call it; its kind by default.")
    ] = None,
) -> None:
    """Start a verifier as a service of its own, for one server or many."""
    import asyncio

    from mull.errors import MullError
    from mull.verifiers.worker import serve_worker

    with _in_one_line():
        try:
            asyncio.run(serve_worker(model, kind, host=host, port=port, name=name))
        except MullError as error:
            raise Failure(error.message) from None


@app.command()
def ask(
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="The question; - reads it from standard input.")
    ],
    strategy: Annotated[
        str | None, typer.Option(help="How to think; the server's default when not given.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the strategy; repeatable.")
    ] = None,
    verifier: Annotated[str | None, typer.Option(help="Which verifier judges.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=1, help="Generated tokens, at most.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(help="Seconds, at most.")] = None,
    budget_samples: Annotated[int | None, typer.Option(min=1, help="Generations, at most.")] = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
    tree: Annotated[bool, typer.Option("--tree", help="Show the search, with scores and tokens.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's whole answer as JSON.")] = False,
    url: Url = LOCAL,
    model: Model = None,
    api_key: Key = None,
) -> None:
    """Ask a running server and print the answer; what it cost goes to standard error."""
    import json

    from rich.console import Console
    from rich.text import Text

    from mull.server.ask import show
    from mull.server.ask.client import Client

    text = sys.stdin.read() if question == "-" else question
    budget = {"tokens": budget_tokens, "seconds": budget_seconds, "samples": budget_samples}
    ttc = {
        **dict(_each(_assignment, "--param", param or [])),
        "strategy": strategy,
        "verifier": verifier,
        "budget": {name: limit for name, limit in budget.items() if limit is not None},
        "include": ["candidates", "trace"] if tree else [],
    }
    fields = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": text}],
        **{name: value for name, value in fields.items() if value is not None},
        "ttc": {name: value for name, value in ttc.items() if value not in (None, {}, [])},
    }
    errors = _errors()
    with _in_one_line():
        client = Client(url=url, api_key=api_key)
        with errors.status("thinking"):
            completion = client.complete({"model": model or client.models()[0], **body})
        if as_json:
            typer.echo(json.dumps(completion, indent=2, ensure_ascii=False))
            return
        if tree and "trace" not in completion.get("ttc", {}):
            raise Failure(f"the server at {url} sends no search to show; is it mull?")
    out = Console(highlight=False)
    if tree:
        out.print(show.tree(completion["ttc"]))
        out.print()
    answer = completion["choices"][0]["message"]["content"] or ""
    typer.echo(show.printable(answer.rstrip("\n")) if sys.stdout.isatty() else answer.rstrip("\n"))
    errors.print(Text(show.summary(completion), style="dim"), soft_wrap=True)


@app.command()
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
    specs = _each(parse_run, "--run", run or [])
    limits = _each(_budget, "--budgets", [part for part in budgets.split(",") if part])
    with _in_one_line():
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
            tables, complete = bench(asked, _errors())
        except (ValueError, OSError) as error:
            raise Failure(str(error), USAGE) from None
    typer.echo(tables, nl=False)
    if not complete:
        raise typer.Exit(FAILED)


@app.command()
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
    url: Url = LOCAL,
    model: Model = None,
    api_key: Key = None,
) -> None:
    """Fit what reasoning_effort means to a running server's models. Called again, it goes on."""
    from mull.server.bench.problems import read_problems
    from mull.server.bench.spec import parse_run

    fields = {"temperature": temperature, "max_tokens": max_tokens}
    specs = _each(parse_run, "--run", run or [])
    with _in_one_line():
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
            tables = calibrate(asked, _errors())
        except (ValueError, OSError) as error:
            raise Failure(str(error), USAGE) from None
    typer.echo(tables, nl=False)


def _each(read: Callable[[str], T], option: str, texts: list[str]) -> list[T]:
    """Read every value of an option; what is wrong with one is wrong usage."""
    try:
        return [read(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _assignment(text: str) -> tuple[str, Any]:
    from mull.server.assignments import assignment

    return assignment(text)


def _budget(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is no number of tokens")
    return int(text)


def _errors() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """End with the failure's message and exit code instead of a traceback."""
    try:
        yield
    except Failure as failure:
        typer.echo(f"mull: {failure.message}", err=True)
        raise typer.Exit(failure.code) from None
    except KeyboardInterrupt:
        typer.echo("mull: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
