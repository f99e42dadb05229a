"""Files are kept on disk, for whom they belong to, for as long as they are wanted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import OpenAI
from tests.server.batches.conftest import create, in_a_folder, line, lines, over, upload

if TYPE_CHECKING:
    from tests.server.batches.conftest import StartBatches
    from tests.server.conftest import Live, Start

ROWS = [line("a"), line("b")]
Contents = Callable[[], list[str]]


def test_a_file_comes_back_as_it_was_sent(begin: StartBatches, tmp_path: Path, contents: Contents) -> None:
    with begin() as live:
        before = int(time.time())
        made = upload(live.client, ROWS, "../odd näme.jsonl")
        assert live.client.files.content(made.id).content == lines(ROWS)
        assert live.client.files.retrieve(made.id) == made
        response = live.http.get(f"/v1/files/{made.id}/content")
    assert made.filename == "odd näme.jsonl"
    assert made.id.startswith("file-")
    assert (made.object, made.purpose, made.status, made.bytes) == (
        "file",
        "batch",
        "processed",
        len(lines(ROWS)),
    )
    assert before <= made.created_at <= time.time()
    assert made.expires_at == made.created_at + 30 * 86_400
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"].startswith("attachment;")
    assert contents() == [made.id]
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


@in_a_folder
def test_files_outlive_the_server_and_half_of_one_does_not(
    begin: StartBatches, tmp_path: Path, contents: Contents
) -> None:
    with begin() as live:
        made = upload(live.client, ROWS)
    (tmp_path / "batches" / "files" / "draft-x.part").write_text("torn by a kill")
    with begin() as live:
        assert live.client.files.retrieve(made.id) == made
    assert contents() == [made.id]


@pytest.mark.parametrize("size", [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_what_is_large_comes_back_whole(begin: StartBatches, size: int) -> None:
    sent = random.Random(size).randbytes(size)
    with begin() as live:
        made = live.client.files.create(file=sent, purpose="batch")
        assert live.client.files.content(made.id).content == sent
        part = live.http.get(f"/v1/files/{made.id}/content", headers={"range": "bytes=0-0"})
    assert (part.status_code, part.content) == (206, sent[:1])


def test_a_name_that_nothing_can_have_is_not_found(begin: StartBatches) -> None:
    with begin() as live:
        for path in ("files/a%00", "batches/a%00", "files?after=a%00", "batches?after=%00"):
            assert live.http.get(f"/v1/{path}").status_code == 404
        assert live.http.get("/v1/files?purpose=%00").json()["data"] == []


def test_files_are_listed_by_age_page_by_page(begin: StartBatches) -> None:
    with begin() as live:
        names = [upload(live.client, ROWS, f"{n}").id for n in range(5)]
        page = live.http.get("/v1/files?limit=2").json()
        assert [file.id for file in live.client.files.list(limit=2)] == names[::-1]
        assert [file.id for file in live.client.files.list(limit=2, order="asc")] == names
        assert list(live.client.files.list(purpose="batch_output")) == []
        assert len(list(live.client.files.list(purpose="batch"))) == 5
    assert (page["first_id"], page["last_id"], page["has_more"]) == (names[4], names[3], True)


def test_a_deleted_file_is_gone(begin: StartBatches, contents: Contents) -> None:
    with begin() as live:
        made = upload(live.client, ROWS)
        deleted = live.client.files.delete(made.id)
        assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "file")
        for path in (f"/v1/files/{made.id}", f"/v1/files/{made.id}/content"):
            assert live.http.get(path).status_code == 404
        assert live.http.delete(f"/v1/files/{made.id}").status_code == 404
    assert contents() == []


def test_a_file_that_a_batch_reads_stays(begin: StartBatches) -> None:
    with begin() as live:
        live.script.hold.clear()
        batch = create(live.client, ROWS)
        with pytest.raises(openai.ConflictError, match=batch.id):
            live.client.files.delete(batch.input_file_id)
        live.script.hold.set()
        over(live.client, batch)
        assert live.client.files.delete(batch.input_file_id).deleted


def test_a_file_can_be_kept_for_a_shorter_time(begin: StartBatches) -> None:
    with begin() as live:
        made = live.client.files.create(
            file=lines(ROWS), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
    assert made.expires_at == made.created_at + 3600


@in_a_folder
@pytest.mark.parametrize(
    ("fields", "file", "param"),
    [
        ({}, b"x", "purpose"),
        ({"purpose": "fine-tune"}, b"x", "purpose"),
        ({"purpose": "batch", "colour": "red"}, b"x", "colour"),
        ({"purpose": "batch"}, b"", "file"),
        ({"purpose": "batch"}, None, "file"),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, b"x", "expires_after.anchor"),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
            b"x",
            "expires_after.seconds",
        ),
        ({"purpose": "batch", "long": "x" * 5000}, b"x", "long"),
    ],
)
def test_wrong_uploads_are_refused_by_name(
    begin: StartBatches, contents: Contents, fields: dict[str, str], file: bytes | None, param: str
) -> None:
    parts: dict[str, Any] = {name: (None, value) for name, value in fields.items()}
    with begin() as live:
        response = live.http.post("/v1/files", files=parts | ({} if file is None else {"file": ("f", file)}))
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert contents() == []


@in_a_folder
@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"x", "multipart/form-data", 415),
        (b"no boundary here", "multipart/form-data; boundary=b", 400),
        (
            b"--b\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\ntorn",
            "multipart/form-data; boundary=b",
            400,
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            400,
        ),
    ],
)
def test_what_is_no_form_with_a_file_is_refused(
    begin: StartBatches, contents: Contents, content: bytes, kind: str, status: int
) -> None:
    with begin() as live:
        response = live.http.post("/v1/files", content=content, headers={"content-type": kind})
    assert response.status_code == status, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert contents() == []


@in_a_folder
def test_many_empty_fields_are_too_much(begin: StartBatches, contents: Contents) -> None:
    parts = {f"field{number}": (None, b"") for number in range(1000)}
    with begin() as live:
        response = live.http.post("/v1/files", files=parts | {"file": ("f", b"x")})
    assert response.status_code == 400
    assert "4096 bytes" in response.json()["error"]["message"]
    assert contents() == []


def test_what_is_too_large_leaves_nothing_behind(begin: StartBatches, contents: Contents) -> None:
    with begin(file_bytes=100_000) as live:
        with pytest.raises(openai.APIStatusError, match="100000 bytes") as caught:
            live.client.files.create(file=b"x" * 200_000, purpose="batch")
        assert caught.value.status_code == 413
        upload(live.client, ROWS)
    assert len(contents()) == 1


def test_when_there_is_no_more_room_none_is_taken(begin: StartBatches) -> None:
    with begin(total_bytes=1024) as live:
        live.client.files.create(file=b"x" * 1024, purpose="batch")
        with pytest.raises(openai.APIStatusError, match="total_bytes"):
            upload(live.client, ROWS)


async def test_a_large_file_is_written_as_it_comes(tmp_path: Path) -> None:
    from mull.server.batches.upload import receive

    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    sizes: list[int] = []

    async def body() -> Any:
        yield head
        for _ in range(64):
            yield b"x" * 65_536
            sizes.append((tmp_path / "f").stat().st_size)
        yield b"\r\n--b--\r\n"

    await receive(body(), "multipart/form-data; boundary=b", tmp_path / "f", most=1 << 30)
    assert sizes == [65_536 * n for n in range(1, 65)]


@in_a_folder
@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=10001", "limit"), ("order=up", "order"), ("after=nothing", "after")],
)
def test_wrong_questions_are_refused_by_name(begin: StartBatches, query: str, param: str) -> None:
    with begin() as live:
        response = live.http.get(f"/v1/files?{query}")
    assert response.status_code in (400, 404)
    assert response.json()["error"]["param"] == param


def test_a_key_sees_its_own_files(begin: StartBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_ADMIN_KEY", "root")
    with begin(api_keys=["ann", "bob"]) as live:

        def client(key: str) -> OpenAI:
            return live.client.with_options(api_key=key)

        made = upload(client("ann"), ROWS)
        assert [file.id for file in client("ann").files.list()] == [made.id]
        assert list(client("bob").files.list()) == []
        assert [file.id for file in client("root").files.list()] == [made.id]
        for ask in (client("bob").files.retrieve, client("bob").files.content, client("bob").files.delete):
            with pytest.raises(openai.NotFoundError, match="there is no file"):
                ask(made.id)
        with pytest.raises(openai.NotFoundError):
            client("bob").batches.create(
                input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        with pytest.raises(openai.AuthenticationError):
            client("eve").files.list()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("GET", "/v1/files/x/content"),
        ("DELETE", "/v1/files/x"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches/x"),
        ("POST", "/v1/batches/x/cancel"),
    ],
)
def test_without_a_folder_the_server_says_what_to_configure(live: Live, method: str, path: str) -> None:
    response = live.http.request(method, path)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "batches_not_configured"
    assert "batches.dir" in response.json()["error"]["message"]


@in_a_folder
def test_a_folder_is_of_one_server(begin: StartBatches, start: Start, tmp_path: Path) -> None:
    import asyncio

    from mull.server.app import create_app
    from mull.server.settings import load

    failures: list[str] = []
    settings = load(None, batches={"dir": tmp_path / "batches"})
    app = create_app(settings, generators={}, verifiers={}, on_failure=lambda: failures.append("failed"))

    async def run() -> None:
        async with app.router.lifespan_context(app):
            pass

    with begin(), pytest.raises(OSError, match="another server"):
        asyncio.run(run())
    assert failures == ["failed"]
