"""API keys: files of digests, roles, rotation; a key is told to nobody."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.server import keyfile
from mull.server.callers import KeyLimits
from mull.server.keyfile import KeyEntry, KeyFileError, changing, digest_of, new_key, read
from mull.server.settings import ConfigurationError, load

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

ADMIN_SECRET = "theAdministratorsOwnSecretKey"
SECRET = "mull_thisKeyIsASecretThatNobodyMayEverSeeAnywhere"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write(path: Path, *entries: KeyEntry) -> Path:
    path.touch()
    with changing(path) as kept:
        kept[:] = entries
    return path


def entry(key: str, name: str, role: Any = "user", **limits: Any) -> KeyEntry:
    return KeyEntry(
        name=name, digest=digest_of(key.encode()), role=role, created=1, limits=KeyLimits(**limits)
    )


def status(live: Live, key: str | None, path: str = "/v1/models") -> int:
    return live.http.get(path, headers={"Authorization": f"Bearer {key}"} if key else {}).status_code


def test_a_key_is_made_once_and_kept_as_a_digest(tmp_path: Path) -> None:
    key, kept = new_key("ann", limits=KeyLimits(concurrent=3))
    path = write(tmp_path / "keys", kept)
    assert key.startswith("mull_")
    assert len(key) >= 48
    assert key not in path.read_text()
    assert key.removeprefix("mull_") not in path.read_text()
    assert read(path) == [kept]
    assert path.stat().st_mode & 0o077 == 0 or path.stat().st_mode & 0o777 == 0o644  # as it was touched
    assert new_key("ann")[0] != key


def test_a_new_file_is_its_owners(tmp_path: Path) -> None:
    with changing(tmp_path / "keys") as kept:
        kept.append(new_key("ann")[1])
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


@given(st.text(max_size=200), st.sampled_from(["name", "digest", "role", "created", "limits", "x"]))
def test_a_wrong_line_is_named_and_never_quoted(
    tmp_path_factory: pytest.TempPathFactory, junk: str, field: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "wrong-keys"
    line = entry("k", "ann").model_dump() | {field: f" {SECRET}{junk}"}
    path.write_text(f"{entry('k', 'ann').model_dump_json()}\n\n{json.dumps(line)}\n", encoding="utf-8")
    with pytest.raises(KeyFileError, match="line 3") as failed:
        read(path)
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize("text", [SECRET, "[]", '{"name": "ann"}', "{"])
def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigurationError, match="keys_file") as failed:
        load(None, keys_file=tmp_path / "keys")
    assert SECRET not in str(failed.value)
    with pytest.raises(ConfigurationError, match="cannot read"):
        load(None, keys_file=tmp_path / "none")


def test_roles(start: Start, tmp_path: Path) -> None:
    path = write(tmp_path / "keys", entry("user-key", "ann"), entry("admin-key", "root", "admin"))
    with start(keys_file=path, api_keys=["old"], traces={"dir": tmp_path / "traces"}) as live:
        assert [status(live, key) for key in ("user-key", "admin-key", "old")] == [200] * 3
        assert [status(live, key) for key in (None, "other", digest_of(b"user-key"))] == [401] * 3
        traces = "/v1/ttc/traces"
        assert status(live, "admin-key", traces) == 200
        assert [status(live, key, traces) for key in ("user-key", "old", "other")] == [403] * 3
        assert status(live, None, traces) == 401


def test_a_server_with_an_empty_file_is_closed(start: Start, tmp_path: Path) -> None:
    with start(keys_file=write(tmp_path / "keys")) as live:
        assert status(live, None) == status(live, "x") == 401
        assert live.http.get("/health").status_code == 200


def test_keys_change_while_the_server_runs(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mull.server.keys.PERIOD", 0.05)
    path = write(tmp_path / "keys", entry("first", "ann"))
    with start(keys_file=path, traces={"dir": tmp_path / "traces"}) as live:
        live.http.headers["Authorization"] = "Bearer first"
        trace = live.post().json()["ttc"]["trace_id"]
        write(path, entry("first", "ann"), entry("second", "ann"), entry("third", "bob"))
        until(lambda: status(live, "second") == 200)
        write(path, entry("second", "ann"), entry("third", "bob"))
        until(lambda: status(live, "first") == 401)
        # What is Ann's stays Ann's.
        assert status(live, "second", f"/v1/ttc/traces/{trace}") == 200
        assert status(live, "third", f"/v1/ttc/traces/{trace}") == 404
        with caplog.at_level(logging.ERROR):
            path.write_text(SECRET)
            until(lambda: "line 1" in caplog.text)
            path.unlink()
            until(lambda: "cannot read" in caplog.text)
        assert status(live, "second") == 200
        assert SECRET not in caplog.text


def test_a_key_is_told_to_nobody(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULL_ADMIN_KEY", ADMIN_SECRET)
    path = write(tmp_path / "keys", entry(SECRET, "ann"))
    headers = {"Authorization": f"Bearer {SECRET}"}
    with (
        caplog.at_level(logging.DEBUG),
        start(keys_file=path, traces={"dir": tmp_path / "traces"}, log_level="debug") as live,
    ):
        live.http.headers.update(headers)
        told = [
            live.post(),
            live.post(temperature=9),
            live.post(model="none"),
            live.http.get("/v1/nothing"),
            live.http.get("/v1/ttc/traces"),
            live.http.get("/metrics"),
            live.http.get("/v1/ttc/running"),
            live.http.get("/v1/models", headers={"Authorization": f"Bearer {SECRET}x"}),
            live.http.get("/v1/ttc/traces", headers={"Authorization": f"Bearer {ADMIN_SECRET}"}),
            live.http.get("/v1/ttc/usage", headers={"Authorization": f"Bearer {ADMIN_SECRET}"}),
            live.http.get(f"/v1/{SECRET}", headers={"x-request-id": "a b"}),
        ]
        live.script.fail = RuntimeError("boom")
        told.append(live.post())
        live.script.fail = None
        text = "".join(f"{response.text}{response.headers}" for response in told)
    assert told[0].status_code == 200
    assert told[-1].status_code == 500
    kept = b"".join(file.read_bytes() for file in (tmp_path / "traces").rglob("*") if file.is_file())
    for place in (text, caplog.text, kept.decode(errors="replace"), path.read_text()):
        assert ADMIN_SECRET not in place
        # In the path of a request it is no secret any more.
        assert SECRET not in place.replace(f"/v1/{SECRET}", "")


def test_every_digest_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic import SecretStr

    from mull.server import keys
    from mull.server.admin import Admin

    compared: list[str] = []

    def compare(a: str, b: str) -> bool:
        compared.append(b)
        return a == b

    monkeypatch.setattr("mull.server.keys.hmac.compare_digest", compare)
    known = keys.Keys([SecretStr(f"k{i}") for i in range(5)], Admin("MULL_TEST_NONE"))
    for key in (b"k0", b"k4", b"other", None):
        compared.clear()
        known._find(key)
        assert compared == [digest_of(b"k%d" % i) for i in range(5)]


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def add(number: int) -> None:
        with changing(tmp_path / "keys") as kept:
            kept.append(entry(str(number), f"n{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert {each.name for each in keyfile.read(tmp_path / "keys")} == {f"n{i}" for i in range(40)}
