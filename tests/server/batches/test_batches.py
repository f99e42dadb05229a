"""Batches through the official SDK: what goes in comes out, once each, in the order of the input."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import OpenAI
from tests.server.batches.conftest import create, in_a_folder, line, over, read, upload

if TYPE_CHECKING:
    from tests.server.batches.conftest import StartBatches
    from tests.server.conftest import Fixed, Start

ADMIN = {"Authorization": "Bearer root"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_ADMIN_KEY", "root")


def running(live: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = live.http.get("/v1/ttc/running", headers=ADMIN).json()["data"]
    return rows


def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_lines_are_answered(begin: StartBatches) -> None:
    names = [f"q{n}" for n in range(20)]
    with begin(concurrency=1) as live:
        made = create(live.client, [line(name) for name in names], metadata={"run": "7"})
        assert (made.object, made.status, made.endpoint) == ("batch", "validating", "/v1/chat/completions")
        assert made.expires_at == made.created_at + 86_400
        batch = over(live.client, made)
        rows = read(live.client, batch.output_file_id)
        alone = live.post().json()
        assert batch.output_file_id is not None
        file = live.client.files.retrieve(batch.output_file_id)
    assert batch.status == "completed"
    assert (batch.error_file_id, batch.errors, batch.metadata) == (None, None, {"run": "7"})
    assert batch.model == "mull-tiny"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 20, "completed": 20, "failed": 0}
    assert batch.in_progress_at is not None
    assert batch.finalizing_at is not None
    assert batch.completed_at is not None
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert [row["custom_id"] for row in rows] == names
    assert len({row["id"] for row in rows}) == 20
    for row in rows:
        assert set(row) == {"id", "custom_id", "response", "error"}
        assert row["error"] is None
        assert row["response"]["status_code"] == 200
        body = row["response"]["body"]
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"] == alone["choices"][0]["message"]
        assert body["usage"]["completion_tokens"] == alone["usage"]["completion_tokens"]
    assert batch.usage is not None
    assert batch.usage.output_tokens == 20 * alone["usage"]["completion_tokens"]
    assert batch.usage.input_tokens == 20 * alone["usage"]["prompt_tokens"]
    assert file.purpose == "batch_output"
    assert file.filename == f"{batch.id}_output.jsonl"


@in_a_folder
def test_lines_choose_strategies_as_requests_do(begin: StartBatches) -> None:
    with begin() as live:
        rows = [
            line("vote", ttc={"strategy": "majority_vote", "n": 5}),
            line("best", model="mull-tiny+best_of_n"),
        ]
        batch = over(live.client, create(live.client, rows))
        vote, best = read(live.client, batch.output_file_id)
    assert vote["response"]["body"]["ttc"]["answer"] == "3"
    assert best["response"]["body"]["ttc"]["strategy"] == "best_of_n"


def test_a_line_that_is_refused_spoils_no_other(begin: StartBatches) -> None:
    with begin() as live:
        rows = [line("good"), line("hot", temperature=9), line("nobody", model="nobody"), line("fine")]
        batch = over(live.client, create(live.client, rows))
        done, wrong = read(live.client, batch.output_file_id), read(live.client, batch.error_file_id)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 4, "completed": 2, "failed": 2}
    assert [row["custom_id"] for row in done] == ["good", "fine"]
    assert [row["custom_id"] for row in wrong] == ["hot", "nobody"]
    assert [row["response"]["status_code"] for row in wrong] == [400, 404]
    assert wrong[0]["response"]["body"]["error"]["param"] == "temperature"
    assert batch.model is None


def test_a_batch_of_nothing_but_refused_lines_has_no_output_file(begin: StartBatches) -> None:
    with begin() as live:
        batch = over(live.client, create(live.client, [line("hot", temperature=9)]))
    assert (batch.status, batch.output_file_id) == ("completed", None)


@in_a_folder
def test_the_input_is_checked_before_anything_is_sent(begin: StartBatches) -> None:
    good = line("a")
    rows: list[Any] = [
        good,
        b"{not json",
        b"[]",
        {**good, "custom_id": "a"},
        {name: value for name, value in line("c").items() if name != "custom_id"},
        {**line("d"), "method": "GET"},
        {**line("e"), "url": "/v1/models"},
        {**line("f"), "body": "text"},
        line("g", stream=True),
        {**line("h"), "colour": "red"},
        b"   ",
        b'{"custom_id": "\xff"}',
    ]
    with begin() as live:
        batch = over(live.client, create(live.client, rows))
        assert live.script.chats == []
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert batch.errors is not None
    assert batch.errors.object == "list"
    found = [(error.line, error.code, error.param) for error in batch.errors.data or []]
    assert found == [
        (2, "invalid_json_line", None),
        (3, "invalid_json_line", None),
        (4, "duplicate_custom_id", "custom_id"),
        (5, "missing_required_parameter", "custom_id"),
        (6, "invalid_value", "method"),
        (7, "invalid_value", "url"),
        (8, "invalid_type", "body"),
        (9, "invalid_value", "body.stream"),
        (10, "unknown_parameter", "colour"),
        (12, "invalid_json_line", None),
    ]
    messages = [error.message or "" for error in batch.errors.data or []]
    assert "line 1" in messages[2]


@in_a_folder
@pytest.mark.parametrize(
    ("rows", "settings", "code"),
    [
        ([b""], {}, "empty_file"),
        ([line(str(n)) for n in range(4)], {"max_requests": 3}, "too_many_requests"),
        ([line("a", padding="x" * 5 * 2**20)], {}, "line_too_long"),
    ],
)
def test_an_input_of_the_wrong_size_fails(
    begin: StartBatches, rows: list[Any], settings: dict[str, Any], code: str
) -> None:
    with begin(**settings) as live:
        batch = over(live.client, create(live.client, rows))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [error.code for error in batch.errors.data or []] == [code]


def test_at_most_so_many_run_at_a_time(begin: StartBatches, scripted: type[Fixed]) -> None:
    script = scripted()
    with begin(script=script, concurrency=3) as live:
        script.hold.clear()
        batch = create(live.client, [line(f"q{n}") for n in range(9)])
        until(lambda: len(running(live)) == 3)
        assert {row["batch"] for row in running(live)} == {batch.id}
        script.hold.set()
        assert over(live.client, batch).status == "completed"


def test_batches_make_way_for_who_waits(begin: StartBatches, scripted: type[Fixed]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    script = scripted()
    with begin(script=script, pause_at=1) as live, ThreadPoolExecutor(1) as pool:
        script.hold_at = 1
        waited_for = pool.submit(live.post)
        until(lambda: not script.hold.is_set())
        batch = create(live.client, [line("a"), line("b")])
        until(lambda: live.client.batches.retrieve(batch.id).status == "in_progress")
        # Reading it takes turns of the server's loop, in any of which a line could have been sent.
        for _ in range(20):
            assert [row["batch"] for row in running(live)] == [None]
        assert not waited_for.done()
        script.hold.set()
        assert waited_for.result().status_code == 200
        assert over(live.client, batch).status == "completed"


def test_several_batches_take_turns(begin: StartBatches, scripted: type[Fixed]) -> None:
    script = scripted()
    with begin(script=script, concurrency=2) as live:
        script.hold.clear()
        long = create(live.client, [line(f"q{n}") for n in range(60)])
        until(lambda: len(running(live)) == 2)
        short = create(live.client, [line("only", messages=[{"role": "user", "content": "short"}])])
        until(lambda: live.client.batches.retrieve(short.id).status == "in_progress")
        script.hold.set()
        assert {over(live.client, batch).status for batch in (short, long)} == {"completed"}
    order = [chat.messages[0]["content"] for chat in script.chats]
    assert len(order) == 61
    assert order.index("short") < 30


def test_a_cancelled_batch_keeps_what_was_answered(begin: StartBatches, scripted: type[Fixed]) -> None:
    script = scripted()
    with begin(script=script, concurrency=1) as live:
        script.hold_at = 4
        batch = create(live.client, [line(f"q{n}") for n in range(10)])
        until(lambda: not script.hold.is_set())
        asked = live.client.batches.cancel(batch.id)
        assert asked.status == "cancelling"
        assert asked.cancelling_at is not None
        batch = over(live.client, batch)
        done = read(live.client, batch.output_file_id)
        assert running(live) == []
        script.hold.set()
        with pytest.raises(openai.ConflictError, match="is cancelled"):
            live.client.batches.cancel(batch.id)
    assert batch.status == "cancelled"
    assert batch.cancelled_at is not None
    assert batch.request_counts is not None
    assert 0 < batch.request_counts.completed == len(done) < 10
    assert [row["custom_id"] for row in done] == [f"q{n}" for n in range(len(done))]
    assert batch.error_file_id is None


def test_what_is_not_answered_in_time_expires(begin: StartBatches, scripted: type[Fixed]) -> None:
    script = scripted()
    with begin(script=script, concurrency=1) as live:
        script.hold_at = 4
        rows = [line(f"q{n}") for n in range(6)]
        batch = over(live.client, create(live.client, rows, completion_window="2s"))
        script.hold.set()
        done, late = read(live.client, batch.output_file_id), read(live.client, batch.error_file_id)
    assert batch.status == "expired"
    assert batch.expired_at is not None
    assert batch.expires_at == batch.created_at + 2
    assert [row["custom_id"] for row in done + late] == [f"q{n}" for n in range(6)]
    assert {row["error"]["code"] for row in late} == {"batch_expired"}
    assert {row["response"] for row in late} == {None}
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (len(done), 0)


@in_a_folder
def test_what_is_down_for_a_moment_is_asked_again(
    begin: StartBatches, scripted: type[Fixed], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mull.errors import EngineUnavailable
    from mull.server.batches import lines as sending

    script = scripted()
    waits: list[float] = []

    class Waits:
        """The moments in which it comes up again."""

        def __iter__(self) -> Any:
            for wait in (0.01, 0.02):
                waits.append(wait)
                if wait == 0.02:
                    script.fail = None
                yield wait

    monkeypatch.setattr(sending, "WAITS", Waits())
    script.fail = EngineUnavailable("gone")
    with begin(script=script) as live:
        batch = over(live.client, create(live.client, [line("a")]))
    assert waits == [0.01, 0.02]
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 1, "completed": 1, "failed": 0}


@in_a_folder
def test_what_stays_down_fails(
    begin: StartBatches, scripted: type[Fixed], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mull.errors import EngineUnavailable
    from mull.server.batches import lines as sending

    monkeypatch.setattr(sending, "WAITS", (0.01,))
    script = scripted()
    script.fail = EngineUnavailable("gone")
    with begin(script=script) as live:
        batch = over(live.client, create(live.client, [line("a")]))
        (row,) = read(live.client, batch.error_file_id)
    assert row["response"]["status_code"] == 503
    assert row["response"]["body"]["error"]["message"] == "gone"


def test_batches_are_listed_newest_first(begin: StartBatches) -> None:
    with begin() as live:
        made = [over(live.client, create(live.client, [line("a")])).id for _ in range(3)]
        assert [batch.id for batch in live.client.batches.list(limit=2)] == made[::-1]
        for query in ("limit=0", "limit=101", "after=nothing"):
            response = live.http.get(f"/v1/batches?{query}")
            assert response.json()["error"]["param"] == query.partition("=")[0]


@in_a_folder
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ({"colour": "red"}, "colour"),
        ({"input_file_id": 7}, "input_file_id"),
    ],
)
def test_wrong_batches_are_refused_by_name(begin: StartBatches, body: dict[str, Any], param: str) -> None:
    with begin() as live:
        file = upload(live.client, [line("a")])
        asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        response = live.http.post("/v1/batches", json=asked | body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


@in_a_folder
def test_the_input_has_to_be_there_and_to_be_an_input(begin: StartBatches) -> None:
    with begin() as live:
        batch = over(live.client, create(live.client, [line("a")]))
        asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        wrong = [
            live.http.post("/v1/batches", json={**asked, "input_file_id": name})
            for name in ("x", batch.output_file_id)
        ]
    assert [response.status_code for response in wrong] == [404, 400]
    assert {response.json()["error"]["param"] for response in wrong} == {"input_file_id"}


def test_output_is_kept_as_long_as_is_asked(begin: StartBatches) -> None:
    with begin() as live:
        kept = {"anchor": "created_at", "seconds": 7200}
        batch = over(live.client, create(live.client, [line("a")], output_expires_after=kept))
        assert batch.output_file_id is not None
        file = live.client.files.retrieve(batch.output_file_id)
    assert file.expires_at == file.created_at + 7200


def test_a_key_sees_its_own_batches(start: Start, place: dict[str, Any], tmp_path: Path) -> None:
    with start(api_keys=["ann", "bob"], traces={"dir": tmp_path / "traces"}, **place) as live:
        ann, bob, root = (live.client.with_options(api_key=key) for key in ("ann", "bob", "root"))
        batch = over(ann, create(ann, [line("a")]))
        output = read(ann, batch.output_file_id)
        assert [found.id for found in ann.batches.list()] == [batch.id]
        assert list(bob.batches.list()) == []
        assert [found.id for found in root.batches.list()] == [batch.id]
        asks: list[Any] = [bob.batches.retrieve, bob.batches.cancel]
        for ask in asks:
            with pytest.raises(openai.NotFoundError, match="there is no batch"):
                ask(batch.id)
        assert batch.output_file_id is not None
        with pytest.raises(openai.NotFoundError):
            bob.files.content(batch.output_file_id)
        # The searches of a batch are its owner's too.
        path = f"/v1/ttc/traces/{output[0]['response']['body']['ttc']['trace_id']}"

        def status(client: OpenAI) -> int:
            headers = {"Authorization": f"Bearer {client.api_key}"}
            return live.http.get(path, headers=headers).status_code

        assert [status(client) for client in (ann, bob, root)] == [200, 404, 200]
    if "store" not in place:
        assert b"ann" not in (tmp_path / "batches" / "batches.sqlite").read_bytes()


def test_nobody_can_claim_to_be_a_batch(start: Start) -> None:
    with start(api_keys=["ann"]) as live:
        for headers in ({}, {"state": "caller"}, {"caller": "ann"}):
            assert live.http.post("/v1/chat/completions", json={}, headers=headers).status_code == 401


@in_a_folder
@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/completions", {"model": "mull-tiny", "prompt": "One"}),
        ("/v1/responses", {"model": "mull-tiny", "input": "What is one plus one?"}),
    ],
)
def test_other_endpoints_work_alike(begin: StartBatches, endpoint: str, body: dict[str, Any]) -> None:
    with begin() as live:
        rows = [{"custom_id": "a", "method": "POST", "url": endpoint, "body": body}]
        batch = over(live.client, create(live.client, rows, endpoint=endpoint))
        assert batch.error_file_id is None, read(live.client, batch.error_file_id)
        (row,) = read(live.client, batch.output_file_id)
        alone = live.http.post(endpoint, json=body).json()
    assert row["response"]["body"]["object"] == alone["object"]
    assert row["response"]["body"]["usage"]["total_tokens"] == alone["usage"]["total_tokens"]
    assert batch.usage is not None
    assert batch.usage.output_tokens > 0
