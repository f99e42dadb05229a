"""`mull keys`: the file of API keys."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mull.server.commands.common import in_one_line, print_json
from mull.server.commands.looking import table
from mull.server.exits import USAGE, Failure

if TYPE_CHECKING:
    from mull.server.keyfile import KeyEntry

keys_app = typer.Typer(no_args_is_help=True)

File = Annotated[
    Path, typer.Option(envvar="MULL_KEYS_FILE", help="The file, which `keys_file` names to the server.")
]


@keys_app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits and . @ _ -")],
    file: File,
    role: Annotated[Literal["user", "admin"], typer.Option(help="What it allows.")] = "user",
    concurrent: Annotated[int | None, typer.Option(min=1, help="Requests at a time, at most.")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Generated tokens a minute, at most.")
    ] = None,
    priority: Annotated[
        Literal["high", "normal", "low"], typer.Option(help="Its share of a busy server.")
    ] = "normal",
    as_json: Annotated[bool, typer.Option("--json", help="Print the key and what is kept of it.")] = False,
) -> None:
    """Make a key and print it, this once: only its digest is kept.

    A name may have several keys. To change one, make another, exchange it, then revoke the old one by its id.
    """
    from pydantic import ValidationError

    from mull.server import keyfile
    from mull.server.callers import KeyLimits

    limits = KeyLimits(concurrent=concurrent, tokens_per_minute=tokens_per_minute, priority=priority)
    with in_one_line():
        try:
            key, entry = keyfile.new_key(name, role=role, limits=limits)
        except ValidationError:
            raise Failure("a name has 1 to 64 letters, digits or . @ _ -", USAGE) from None
        with _changing(file) as entries:
            entries.append(entry)
    if as_json:
        print_json({"key": key, "id": entry.id, **entry.model_dump()})
    else:
        typer.echo(key)


@keys_app.command(name="list")
def list_keys(
    file: File, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the keys: names, roles, limits."""
    from datetime import UTC, datetime

    from mull.server import keyfile

    with in_one_line():
        try:
            entries = keyfile.read(file)
        except keyfile.KeyFileError as error:
            raise Failure(error.message, USAGE) from None
    if as_json:
        print_json([{"id": entry.id, **entry.model_dump(exclude={"digest"})} for entry in entries])
        return
    rows = [
        (
            entry.id,
            entry.name,
            entry.role,
            datetime.fromtimestamp(entry.created, UTC).strftime("%Y-%m-%d"),
            str(entry.limits.concurrent or ""),
            str(entry.limits.tokens_per_minute or ""),
            entry.limits.priority,
        )
        for entry in entries
    ]
    table(("id", "name", "role", "created", "concurrent", "tokens a minute", "priority"), rows)


@keys_app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="The id of a key, or a name: all of its keys.")], file: File
) -> None:
    """Take keys away. Servers that use the file notice within three seconds."""
    with in_one_line(), _changing(file) as entries:
        gone = [entry for entry in entries if which in (entry.id, entry.name)]
        if not gone:
            raise Failure(f"there is no key {which!r} in {file}", USAGE)
        entries[:] = [entry for entry in entries if entry not in gone]
    for entry in gone:
        typer.echo(f"{entry.id}\t{entry.name}")


@contextmanager
def _changing(file: Path) -> Generator[list[KeyEntry], None, None]:
    """The keys of a file, told in one line where it cannot be."""
    from mull.server import keyfile

    try:
        with keyfile.changing(file) as entries:
            yield entries
    except keyfile.KeyFileError as error:
        raise Failure(error.message, USAGE) from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}", USAGE) from None
