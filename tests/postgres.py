"""A PostgreSQL of one's own: no port, no root, gone after the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

PASSWORD = "hunter2"
"""It is in every URL, so that tests can see that it is nowhere else."""


def programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`, which Debian keeps off the path."""
    debian = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    found = debian or shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class Postgres:
    """A database server that listens on a socket in a temporary folder."""

    def __init__(self) -> None:
        found = programs()
        if found is None:
            pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
        self._programs = found
        self._names = count()
        self.folder = Path(tempfile.mkdtemp(prefix="mull-pg-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to be started by root
            shutil.chown(self.folder, "nobody")
            self._as = {"user": "nobody", "extra_groups": []}
        self._run("initdb", "--auth=trust", "--username=mull", "--no-sync", "--pgdata", str(self._data))
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "--wait", "--log", log, "-o", options, "--pgdata", str(self._data))

    def stop(self) -> None:
        """Stop it as a power cut would, connections and all."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate", "--pgdata", str(self._data))

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._names)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://mull:{PASSWORD}@/{name}?host={self.folder}"

    def close(self) -> None:
        """Stop it and delete everything."""
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        # Not into pipes: the server would inherit them, and hold them open.
        with (self.folder / "output").open("ab") as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self.folder, **self._as)
        if done.returncode:
            raise subprocess.CalledProcessError(
                done.returncode, command, (self.folder / "output").read_text()
            )
