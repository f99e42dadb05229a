"""`mull serve` and `mull verifier`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mull.server.commands.common import in_one_line
from mull.server.exits import USAGE, Failure


def serve(
    config: Annotated[
        Path | None, typer.Option(help="TOML file; without one the bundled models are served.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Policy that `mull calibrate` wrote, for reasoning_effort.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Log as JSON Lines.")] = False,
) -> None:
    """Start the server."""
    from mull.server.serve import serve
    from mull.server.settings import ConfigurationError, load

    fields = {"host": host, "port": port, "calibration": calibration}
    given = {name: value for name, value in fields.items() if value is not None}
    with in_one_line():
        try:
            settings = load(config, **given)
        except ConfigurationError as error:
            raise Failure(error.message, USAGE) from None
    raise typer.Exit(serve(settings, json_logs=as_json))


def verifier(
    model: Annotated[str, typer.Option(help="Folder or Hugging Face name of the model.")],
    kind: Annotated[Literal["prm", "orm", "likelihood", "generative"], typer.Option(help="What it is.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8001,
    name: Annotated[
        str | None, typer.Option(help="How errors and metrics call it; its kind by default.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help="More of its configuration, as a JSON object: format, options and so on.")
    ] = "{}",
) -> None:
    """Start a verifier as a service of its own, for one server or many."""
    import asyncio
    import json

    from mull.errors import MullError
    from mull.verifiers.config import parse
    from mull.verifiers.worker import serve_worker

    with in_one_line():
        try:
            more = json.loads(settings)
            if not isinstance(more, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            raise Failure(f"--settings: {error}", USAGE) from None
        try:
            config = parse({**more, "kind": kind, "model": model})
            asyncio.run(serve_worker(model, kind, host=host, port=port, name=name, config=config))
        except MullError as error:
            raise Failure(error.message) from None
