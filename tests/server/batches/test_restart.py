"""A batch outlives the server that works on it."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from openai import OpenAI
from tests.postgres import PASSWORD
from tests.server.batches.conftest import create, line, over, read

if TYPE_CHECKING:
    from tests.server.conftest import Fixed, Start

MULL = (sys.executable, "-c", "from mull.server.cli import main; main()", "serve", "--host", "127.0.0.1")
CONFIG = """
[models.far]
url = "{url}"
served_as = "mull-tiny"

[batches]
concurrency = 4
"""
PLACES = {
    "folder": 'dir = "{folder}/batches"',
    "store": '[store]\nurl = "{database}"\nlease = 1',
}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def process(
    folder: Path, url: str, place: str, name: str = "mull"
) -> Iterator[tuple[subprocess.Popen[bytes], OpenAI]]:
    """A `mull serve` in front of the scripted model, and a client of it."""
    (folder / "mull.toml").write_text(CONFIG.format(url=url) + place)
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        command = [*MULL, "--config", str(folder / "mull.toml"), "--port", "0"]
        served = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        found: list[str] = []

        def listening() -> bool:
            assert served.poll() is None, log.read_text()
            found.extend(re.findall(r"listening on (http://\S+),", log.read_text()))
            return bool(found)

        until(listening)
        # Between being bound and being listened to, the port refuses connections.
        with OpenAI(base_url=f"{found[0]}/v1", api_key="none", max_retries=5) as client:
            client.files.list()
            yield served, client
    finally:
        served.kill()
        served.wait()


def asked(script: Fixed) -> Counter[str]:
    """How often each question came."""
    return Counter(str(chat.messages[0]["content"]) for chat in script.chats)


def recorded(folder: Path, database: str | None) -> set[int]:
    """The lines that are over, as a stopped server has left it."""
    if database is not None:
        with psycopg.connect(database) as shared:
            return {row[0] for row in shared.execute("SELECT line FROM mull.outcomes")}
    with closing(sqlite3.connect(folder / "batches" / "batches.sqlite")) as db:
        return {row[0] for row in db.execute("SELECT line FROM outcomes")}


@pytest.mark.parametrize("kind", ["folder", "store"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_lost_and_nothing_counts_twice(
    start: Start,
    scripted: type[Fixed],
    tmp_path: Path,
    number: signal.Signals,
    kind: str,
    request: pytest.FixtureRequest,
) -> None:
    script = scripted()
    database = request.getfixturevalue("database") if kind == "store" else None
    place = PLACES[kind].format(folder=tmp_path, database=database)
    names = [f"q{n}" for n in range(40)]
    rows = [line(name, model="far", messages=[{"role": "user", "content": name}]) for name in names]

    with start(script=script) as live:
        with process(tmp_path, live.url, place) as (served, client):
            script.hold_at = 300
            batch = create(client, rows)
            until(lambda: not script.hold.is_set())
            served.send_signal(number)
            served.wait(60)
        until(lambda: not live.http.get("/v1/ttc/running").json()["data"])
        first, known = asked(script), recorded(tmp_path, database)
        assert 0 < len(known) < len(first) < len(names)
        script.hold_at = 0
        script.hold.set()
        with process(tmp_path, live.url, place) as (_, client):
            batch = over(client, client.batches.retrieve(batch.id))
            output = read(client, batch.output_file_id)
    assert batch.status == "completed"
    assert batch.error_file_id is None
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 40, "completed": 40, "failed": 0}
    assert [row["custom_id"] for row in output] == names
    assert len({row["id"] for row in output}) == 40
    # What had been recorded was not asked again, all else once more.
    assert asked(script) - first == Counter(
        name for number, name in enumerate(names, 1) if number not in known
    )
    tokens = sum(row["response"]["body"]["usage"]["completion_tokens"] for row in output)
    assert batch.usage is not None
    assert batch.usage.output_tokens == tokens


def test_another_server_takes_over_what_a_killed_one_left(
    start: Start, scripted: type[Fixed], tmp_path: Path, database: str
) -> None:
    script = scripted()
    place = PLACES["store"].format(database=database)
    names = [f"q{n}" for n in range(40)]
    rows = [line(name, model="far", messages=[{"role": "user", "content": name}]) for name in names]
    with start(script=script) as live, process(tmp_path, live.url, place, "second") as (_, second):
        with process(tmp_path, live.url, place, "first") as (served, first):
            script.hold_at = 300
            batch = create(first, rows)
            until(lambda: not script.hold.is_set())
            # Whoever is asked knows it; nobody else works on it.
            assert second.batches.retrieve(batch.id).status == "in_progress"
            served.kill()
            served.wait(60)
        before, known = asked(script), recorded(tmp_path, database)
        assert 0 < len(known) < len(before) < len(names)
        assert max(before.values()) == 1
        script.hold_at = 0
        script.hold.set()
        batch = over(second, second.batches.retrieve(batch.id))
        output = read(second, batch.output_file_id)
    assert (batch.status, batch.error_file_id) == ("completed", None)
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 40, "completed": 40, "failed": 0}
    assert [row["custom_id"] for row in output] == names
    assert asked(script) - before == Counter(
        name for number, name in enumerate(names, 1) if number not in known
    )
    assert PASSWORD not in "".join(path.read_text() for path in tmp_path.glob("*.log"))
