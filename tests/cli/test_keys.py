"""`mull keys`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from mull.server.keyfile import digest_of, read

Mull = Callable[..., Result]


def test_a_key_is_printed_alone_and_once(mull: Mull, tmp_path: Path) -> None:
    file = str(tmp_path / "keys")
    made = mull("keys", "new", "ann", "--file", file, "--concurrent", "4", "--priority", "low")
    key = made.stdout.strip()
    (entry,) = read(tmp_path / "keys")
    assert entry.digest == digest_of(key.encode())
    assert (entry.name, entry.role, entry.limits.concurrent, entry.limits.priority) == (
        "ann",
        "user",
        4,
        "low",
    )
    told = json.loads(mull("keys", "new", "root", "--file", file, "--role", "admin", "--json").stdout)
    assert told["digest"] == digest_of(told["key"].encode())
    listed = mull("keys", "list", "--file", file).stdout
    assert [line.split("\t")[1:3] for line in listed.splitlines()[1:]] == [["ann", "user"], ["root", "admin"]]
    assert key not in listed
    assert entry.digest not in mull("keys", "list", "--file", file, "--json").stdout


def test_revoking_by_id_and_by_name(mull: Mull, tmp_path: Path) -> None:
    file = str(tmp_path / "keys")
    for name in ("ann", "ann", "bob"):
        assert mull("keys", "new", name, "--file", file).exit_code == 0
    first, second, _ = read(tmp_path / "keys")
    assert mull("keys", "revoke", first.id, "--file", file).stdout == f"{first.id}\tann\n"
    assert second in read(tmp_path / "keys")
    assert mull("keys", "revoke", "ann", "--file", file).exit_code == 0
    assert [entry.name for entry in read(tmp_path / "keys")] == ["bob"]
    gone = mull("keys", "revoke", "ann", "--file", file)
    assert gone.exit_code == 2
    assert "no key 'ann'" in gone.stderr


def test_wrong_usage_is_told_in_one_line(mull: Mull, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    for arguments in (
        ("new", "two words", "--file", str(file)),
        ("list", "--file", str(file)),
        ("new", "ann", "--file", str(tmp_path / "no" / "keys")),
    ):
        result = mull("keys", *arguments)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
    file.write_text("what?")
    assert mull("keys", "new", "ann", "--file", str(file)).exit_code == 2
    assert file.read_text() == "what?"
