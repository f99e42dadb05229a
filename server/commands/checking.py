"""`mull config check` and `mull doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mull.server.commands.common import print_json
from mull.server.exits import FAILED, USAGE

if TYPE_CHECKING:
    from mull.server.doctor.finding import Finding

config_app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")]


@config_app.callback()
def config() -> None:
    """The server's configuration."""


@config_app.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(help="TOML file; without one what MULL_CONFIG names, else the bundled models."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with a configuration, and what is legal but odd. Starts nothing."""
    from mull.server.doctor import configuration, store

    settings, findings = configuration.check(file)
    if settings is not None:
        # A store that is away makes no configuration wrong: the server starts without it.
        findings += [replace(found, level="warn") for found in store.look(settings) if found.level != "ok"]
    if settings is not None and not any(finding.level == "fail" for finding in findings):
        findings.insert(0, configuration.described(settings))
    _end(findings, as_json, USAGE)


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file; without one what MULL_CONFIG names, else the bundled models."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not import vLLM, which takes a while.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look whether this machine can serve a configuration: hardware, software, folders, ports, servers."""
    from mull.server.doctor.examination import examine

    _end(examine(config, thorough=not quick), as_json, FAILED)


def _end(findings: Sequence[Finding], as_json: bool, code: int) -> None:
    """Print what was found; the exit code tells whether anything fails."""
    from mull.server.ask.show import printable
    from mull.server.doctor.finding import summary

    if as_json:
        print_json({"summary": summary(findings), "findings": [asdict(finding) for finding in findings]})
    else:
        width = max((len(finding.subject) for finding in findings), default=0)
        for finding in findings:
            said = f"{finding.level:4}  {finding.subject:{width}}  {finding.found}"
            typer.echo(printable(said))
            if finding.remedy:
                typer.echo(printable(f"{'':{width + 8}}-> {finding.remedy}"))
        typer.echo(summary(findings))
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(code)
