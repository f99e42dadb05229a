"""What several commands share: options, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mull.server.commands import completion
from mull.server.exits import INTERRUPTED, Failure

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

LOCAL = "http://127.0.0.1:8000/v1"

Url = Annotated[str, typer.Option(envvar="MULL_URL", help="The API to talk to.")]
Key = Annotated[
    str | None, typer.Option(envvar="MULL_API_KEY", help="Its key, where it wants one.", show_default=False)
]
Model = Annotated[
    str | None,
    typer.Option(help="The model; the server's first one when not given.", autocompletion=completion.models),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        help="How to think; the server's default when not given.", autocompletion=completion.strategies
    ),
]
Verifier = Annotated[
    str | None, typer.Option(help="Which verifier judges.", autocompletion=completion.verifiers)
]
Param = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A parameter of the strategy; repeatable."),
]
BudgetTokens = Annotated[int | None, typer.Option(min=1, help="Generated tokens, at most.")]
BudgetSeconds = Annotated[float | None, typer.Option(help="Seconds, at most.")]
BudgetSamples = Annotated[int | None, typer.Option(min=1, help="Generations, at most.")]
Temperature = Annotated[
    float | None, typer.Option(min=0, max=2, help="The model's own setting when not given.")
]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")]
Live = Annotated[
    bool | None,
    typer.Option(
        "--live/--no-live", help="Show the search as it goes; on a terminal by default.", show_default=False
    ),
]


def each(read: Callable[[str], T], option: str, texts: list[str]) -> list[T]:
    """Read every value of an option; what is wrong with one is wrong usage."""
    try:
        return [read(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def parameters(texts: list[str] | None) -> dict[str, Any]:
    """The values of --param."""
    from mull.server.assignments import assignment

    return dict(each(assignment, "--param", texts or []))


def given(**fields: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value not in (None, {}, [])}


def errors() -> Console:
    """The console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(data: Any, *, line: bool = False) -> None:
    """Write data to standard output, over several lines or as one JSON line."""
    typer.echo(json.dumps(data, indent=None if line else 2, ensure_ascii=False))


@contextmanager
def in_one_line() -> Iterator[None]:
    """End with the failure's message and exit code instead of a traceback."""
    try:
        yield
    except Failure as failure:
        typer.echo(f"mull: {failure.message}", err=True)
        raise typer.Exit(failure.code) from None
    except KeyboardInterrupt:
        typer.echo("mull: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
