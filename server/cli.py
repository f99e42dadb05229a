"""The `mull` command: its subcommands, each in a module that imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from mull.server.commands import asking, checking, looking, measuring, serving
from mull.server.commands.keys import keys_app
from mull.training.cli import data_app, train_app

app = typer.Typer(
    help="An OpenAI-compatible server that spends test-time compute, and what goes with it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers, 130 interrupted.",
)
for command in (
    serving.serve,
    serving.verifier,
    asking.ask,
    asking.chat,
    looking.top,
    looking.models,
    looking.strategies,
    looking.verifiers,
    measuring.bench,
    measuring.calibrate,
    checking.doctor,
):
    app.command()(command)
app.add_typer(checking.config_app, name="config", help="Check the server's configuration.")
app.add_typer(keys_app, name="keys", help="Make, list and revoke API keys.")
app.add_typer(data_app, name="data", help="Make training and evaluation data.")
app.add_typer(train_app, name="train", help="Train the bundled models from scratch on a CPU.")


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
