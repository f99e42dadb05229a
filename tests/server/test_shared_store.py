"""Several servers over one database: what one keeps the others have, and none needs it to answer."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

import openai
import psycopg
import pytest
from tests.postgres import PASSWORD
from tests.server.batches.conftest import create, line, over, read, upload

from mull.server.settings import ConfigurationError, load

if TYPE_CHECKING:
    from tests.postgres import Postgres
    from tests.server.conftest import Fixed, Live, Start

BEAM = {"strategy": "beam_search", "width": 2, "expand": 2}
ADMIN = {"Authorization": "Bearer root"}
ROUTES = (
    "/v1/ttc/traces",
    "/v1/ttc/traces/x",
    "/v1/ttc/traces/x/events",
    "/v1/files",
    "/v1/files/x",
    "/v1/files/x/content",
    "/v1/batches",
    "/v1/batches/x",
)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_ADMIN_KEY", "root")


@pytest.fixture
def down(postgres: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL that a test may stop: it runs again afterwards."""
    yield postgres
    with suppress(CalledProcessError):
        postgres.stop()
    postgres.start()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def as_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_trace_of_one_is_read_from_the_other(start: Start, database: str) -> None:
    shared = {"store": {"url": database}, "api_keys": ["ann", "bob"]}
    with start(**shared) as one, start(**shared) as other:
        one.http.headers.update(as_key("ann"))
        done = one.post(ttc=BEAM | {"include": ["trace"]}).json()
        path = f"/v1/ttc/traces/{done['ttc']['trace_id']}"

        def status(live: Live, key: str, path: str = path) -> int:
            return live.http.get(path, headers=as_key(key)).status_code

        assert status(one, "ann") == 200
        until(lambda: status(other, "ann") == 200)
        assert [status(other, key) for key in ("ann", "root", "bob")] == [200, 200, 404]
        found = other.http.get(path, headers=ADMIN).json()
        assert found["nodes"] == done["ttc"]["trace"]
        assert status(other, "ann", path + "/events") == 200
        said = {"trace_id": found["id"], "right": True, "comment": "a\0b"}
        tell = "/v1/ttc/feedback"
        assert other.http.post(tell, json=said, headers=as_key("bob")).status_code == 404
        assert other.http.post(tell, json=said, headers=as_key("ann")).json()["new"] is True
        assert one.http.post(tell, json=said, headers=as_key("ann")).json()["new"] is False
        (feedback,) = one.http.get(path, headers=as_key("ann")).json()["feedback"]
        assert (feedback["right"], feedback["comment"]) == (True, "a\0b")
        again = other.http.post(
            "/v1/chat/completions",
            json={"model": "mull-tiny", "messages": [{"role": "user", "content": "a\0b"}]},
            headers=as_key("bob"),
        ).json()
        until(lambda: status(one, "bob", f"/v1/ttc/traces/{again['ttc']['trace_id']}") == 200)
        for live in (one, other):
            rows = live.http.get("/v1/ttc/traces", headers=ADMIN).json()["data"]
            assert [row["id"] for row in rows] == [again["ttc"]["trace_id"], found["id"]]
    with start(**shared) as third:
        assert status(third, "ann") == 200


def test_files_and_batches_belong_to_all_servers(start: Start, database: str, scripted: type[Fixed]) -> None:
    shared: dict[str, Any] = {
        "store": {"url": database, "lease": 1},
        "api_keys": ["ann", "bob"],
        "batches": {"concurrency": 1},
    }
    script = scripted()
    with start(script=script, **shared) as one, start(script=script, **shared) as other:
        here, there = (live.client.with_options(api_key="ann") for live in (one, other))
        file = upload(here, [line("a")])
        assert there.files.content(file.id).text == here.files.content(file.id).text
        with pytest.raises(openai.NotFoundError):
            other.client.with_options(api_key="bob").files.content(file.id)
        batch = over(
            here,
            there.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            ),
        )
        assert [row["custom_id"] for row in read(here, batch.output_file_id)] == ["a"]
        assert [found.id for found in here.batches.list()] == [found.id for found in there.batches.list()]
        # Cancelled by a server that does not work on it.
        script.hold.clear()
        batch = create(here, [line(f"q{n}") for n in range(5)])
        until(lambda: one.http.get("/v1/ttc/running", headers=ADMIN).json()["data"])
        with pytest.raises(openai.ConflictError):
            there.files.delete(batch.input_file_id)
        assert there.batches.cancel(batch.id).status == "cancelling"
        batch = over(there, batch)
        assert batch.status == "cancelled"
        script.hold.set()
        assert there.files.delete(file.id).deleted
        with pytest.raises(openai.NotFoundError):
            here.files.retrieve(file.id)


def test_servers_that_start_at_once_make_the_tables_once(start: Start, database: str) -> None:
    with ExitStack() as stack:
        lives = [stack.enter_context(start(store={"url": database})) for _ in range(3)]
        for live in lives:
            assert live.http.get("/v1/files").json()["data"] == []
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM mull.version").fetchone() == (1,)


def test_the_store_goes_away_and_comes_back(
    start: Start, down: Postgres, scripted: type[Fixed], caplog: pytest.LogCaptureFixture
) -> None:
    database = down.database()
    script = scripted()
    rows = [line(f"q{n}") for n in range(6)]
    with (
        caplog.at_level(logging.INFO),
        start(script=script, store={"url": database, "lease": 2}, batches={"concurrency": 2}) as live,
    ):
        script.hold_at = 4
        batch = create(live.client, rows)
        until(lambda: not script.hold.is_set())
        down.stop()
        told = [live.http.get(path, headers=ADMIN) for path in ROUTES]
        told.append(live.http.post("/v1/ttc/feedback", json={"trace_id": "x", "right": True}))
        told.append(live.http.post("/v1/files", files={"purpose": (None, "batch"), "file": ("f", b"x")}))
        for answer in told:
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (503, "store_unavailable")
            assert error["message"].startswith("the store of traces, files and batches does not answer")
            assert float(answer.headers["retry-after"]) >= 1
        # What lines came to waits for the store; who asks for himself is answered meanwhile.
        script.hold_at = 0
        script.hold.set()
        assert live.post().status_code == 200
        assert live.http.get("/ready").status_code == 200
        until(lambda: re.search(r"mull_traces_lost_total [1-9]", live.http.get("/metrics").text))
        assert "mull_store_up 0.0" in live.http.get("/metrics").text
        down.start()
        until(lambda: live.http.get("/v1/files").status_code == 200)
        assert "mull_store_up 1.0" in live.http.get("/metrics").text
        kept = live.post().json()["ttc"]["trace_id"]
        until(lambda: live.http.get(f"/v1/ttc/traces/{kept}", headers=ADMIN).status_code == 200)
        batch = over(live.client, batch)
        assert batch.status == "completed"
        assert [row["custom_id"] for row in read(live.client, batch.output_file_id)] == [
            row["custom_id"] for row in rows
        ]
    assert len(script.chats) == len(rows) + 2  # no line was asked twice
    said = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("the store does not answer") for text in said) == 1
    assert sum(text.startswith("the store answers again") for text in said) == 1
    assert PASSWORD not in caplog.text
    assert PASSWORD not in json.dumps([answer.text for answer in told])


def test_a_store_that_is_away_for_a_moment_loses_no_trace(start: Start, down: Postgres) -> None:
    database = down.database()
    with start(store={"url": database}) as live:
        assert live.http.get("/v1/files").status_code == 200
        down.stop()
        names = [live.post().json()["ttc"]["trace_id"] for _ in range(5)]
        until(lambda: live.http.get("/v1/files").status_code == 503)
        down.start()
        until(lambda: live.http.get("/v1/files").status_code == 200)
    with start(store={"url": database}) as live:
        rows = live.http.get("/v1/ttc/traces", headers=ADMIN).json()["data"]
        assert [row["id"] for row in rows] == names[::-1]


def test_a_database_that_only_reads_is_left_for_the_one_that_writes(start: Start, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as root, start(store={"url": database}) as live:
        file = upload(live.client, [line("a")])

        def read_only(on: str) -> None:
            (name,) = root.execute("SELECT current_database()").fetchone() or ("",)
            root.execute(f"ALTER DATABASE {name} SET default_transaction_read_only TO {on}".encode())

        read_only("on")
        root.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        path = f"/v1/files/{file.id}"
        until(lambda: live.http.delete(path).status_code == 503)
        read_only("off")  # for new connections
        until(lambda: live.http.delete(path).status_code == 200)


def test_a_server_starts_without_the_store(start: Start, down: Postgres) -> None:
    database = down.database()
    down.stop()
    with start(store={"url": database}) as live:
        assert live.post().status_code == 200
        assert live.http.get("/v1/batches").status_code == 503
        down.start()
        until(lambda: live.http.get("/v1/batches").status_code == 200)
        batch = over(live.client, create(live.client, [line("a")]))
    assert batch.status == "completed"


def test_a_content_that_cannot_be_fetched_is_no_half_answer(start: Start, database: str) -> None:
    with start(store={"url": database}) as live:
        file = upload(live.client, [line("a")])
        with psycopg.connect(database) as connection:
            connection.execute("ALTER TABLE mull.contents RENAME TO elsewhere")
        with pytest.raises(openai.InternalServerError):
            live.client.files.content(file.id)
        with psycopg.connect(database) as connection:
            connection.execute("ALTER TABLE mull.elsewhere RENAME TO contents")
            connection.execute("UPDATE mull.contents SET data = substring(data for 5)")
        # The rest of it was deleted between two parts.
        with pytest.raises(openai.NotFoundError):
            live.client.files.content(file.id)
        with psycopg.connect(database) as connection:
            connection.execute("DELETE FROM mull.contents")
        with pytest.raises(openai.NotFoundError):
            live.client.files.content(file.id)


def test_tables_of_another_version_are_left_alone(start: Start, database: str) -> None:
    with start(store={"url": database}) as live:
        assert live.http.get("/v1/files").status_code == 200
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE mull.version SET number = 99")
    with start(store={"url": database}) as live:
        assert live.http.get("/v1/files").status_code == 503
        assert live.post().status_code == 200


def test_traces_can_be_kept_out_of_the_store(start: Start, database: str) -> None:
    with start(store={"url": database, "traces": False}) as live:
        name = live.post().json()["ttc"]["trace_id"]
        response = live.http.get(f"/v1/ttc/traces/{name}", headers=ADMIN)
        assert response.json()["error"]["code"] == "traces_not_configured"
        assert live.http.get("/v1/files").status_code == 200


@pytest.mark.parametrize(
    "store",
    [
        f"postgresql://mull:{PASSWORD}@host/db",
        {"url": f"mysql://mull:{PASSWORD}@host/db"},
        {"url": f"postgresql://mull:{PASSWORD}/x@host:port/db"},
        {"url": f"postgresql://mull:{PASSWORD}/x@host/db"},
        {"url": f"postgresql://mull:{PASSWORD}@x@host/db"},
        {"url": f"postgresql://mull:1/{PASSWORD}@host/db"},
        {"url": f"postgresql://mull:{PASSWORD}@host/db?colour=red"},
        {"url": [PASSWORD]},
        {"url": f"postgresql://mull:{PASSWORD}@host/db", "colour": "red"},
    ],
)
def test_a_wrong_url_is_refused_and_not_repeated(store: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(None, store=store)
    assert "store" in caught.value.problems[0]
    assert PASSWORD not in str(caught.value.problems)


def test_the_url_is_in_no_picture_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_STORE__URL", f"postgresql://mull:{PASSWORD}@host/db")
    settings = load(None)
    assert settings.store.url is not None
    for picture in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert PASSWORD not in picture
