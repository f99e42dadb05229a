"""Errors of training on the command line."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def told() -> Iterator[None]:
    """End with the message of a `TrainingError`, and exit code 2, instead of a traceback."""
    from mull.training.errors import TrainingError

    try:
        yield
    except TrainingError as error:
        typer.echo(f"mull: {error.message}", err=True)
        raise typer.Exit(2) from None
