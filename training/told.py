"""Errors and outcomes of training on the command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def tell(line: str, as_json: bool, **fields: Any) -> None:
    """Say what was made: in a line on standard error, or as one line of JSON on standard output."""
    typer.echo(json.dumps(fields, ensure_ascii=False) if as_json else line, err=not as_json)


@contextmanager
def told() -> Iterator[None]:
    """End with the message of a `TrainingError`, and exit code 2, instead of a traceback."""
    from mull.training.errors import TrainingError

    try:
        yield
    except TrainingError as error:
        typer.echo(f"mull: {error.message}", err=True)
        raise typer.Exit(2) from None
