"""Verifiers are exchanged while requests run, and only for ones that are as good."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from mull.errors import EngineUnavailable
from mull.server.app import create_app
from mull.server.pool import Loaded
from mull.server.settings import load as load_settings
from mull.testing import ScriptedVerifier
from mull.verifiers.config import VerifierConfig
from mull.verifiers.kinds import PrmConfig

if TYPE_CHECKING:
    from tests.server.conftest import Fixed

ADMIN = {"Authorization": "Bearer sesame"}
ASK = [{"role": "user", "content": "What is one plus one?"}]
GOOD = ("Yes\n", "Yes\nand yes\n", "Yes, 2\n")
BAD = ("No\n", "No\nand no\n", "No, 3\n")


def judge(quality: float, name: str = "prm") -> ScriptedVerifier:
    """Quality 1 knows right from wrong, 0 mistakes one for the other, .5 knows nothing."""
    return ScriptedVerifier(
        lambda text, ended: quality if "Yes" in text or "2" in text else 1 - quality, name=name
    )


class Served:
    """A server whose verifiers are loaded by a script: `models/prm-0.9` is of quality .9."""

    def __init__(self, url: str, script: Fixed) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        self.script = script
        self.made: dict[str, ScriptedVerifier] = {}
        self.closed: list[str] = []
        self.loading = threading.Event()
        self.hold = threading.Event()
        self.hold.set()

    def reload(self, name: str = "prm", **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/ttc/verifiers/{name}/reload", json=body, headers=ADMIN)

    def ask(self, **ttc: Any) -> httpx.Response:
        given = ttc or {"strategy": "beam_search", "width": 2, "expand": 2}
        return self.http.post(
            "/v1/chat/completions", json={"model": "mull-tiny", "messages": ASK, "ttc": given}
        )

    def wait_closed(self, *folders: str) -> None:
        deadline = time.monotonic() + 20
        while self.closed != list(folders):
            assert time.monotonic() < deadline, self.closed
            time.sleep(0.01)

    def verifiers(self) -> dict[str, Any]:
        return {row["name"]: row for row in self.http.get("/v1/ttc/verifiers").json()["data"]}


Serve = Callable[..., AbstractContextManager[Served]]


def rows(path: Path) -> Path:
    """Labelled steps: those with a Yes are right."""
    found = [
        {"prompt": ASK, "completions": text.splitlines(keepends=True), "labels": [label] * text.count("\n")}
        for texts, label in ((GOOD, 1.0), (BAD, 0.0))
        for text in texts
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for quality in ("0.9", "0.8", "0.5", "0.2"):
        folder = tmp_path / "models" / f"prm-{quality}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    return tmp_path / "models"


@pytest.fixture
def serve(
    models: Path, scripted: type[Fixed], serving: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Serve:
    monkeypatch.setenv("MULL_ADMIN_KEY", "sesame")
    standard = {
        "verifiers": {
            "prm": {"kind": "prm", "model": str(models / "prm-0.8")},
            "rule": {"kind": "regex", "pattern": "2"},
            "both": {"kind": "composite", "of": ["prm", "rule"]},
            "all": {"kind": "composite", "of": ["both"]},
        },
        "defaults": {"verifiers": {"process": "prm", "outcome": "both"}},
        "verifiers_check": str(rows(tmp_path / "check.jsonl")),
    }

    @contextmanager
    def start(**settings: Any) -> Iterator[Served]:
        served: Served

        async def load(name: str, config: VerifierConfig) -> Loaded:
            assert isinstance(config, PrmConfig)
            served.loading.set()
            while not served.hold.is_set():  # noqa: ASYNC110 (set from another thread)
                await asyncio.sleep(0.005)
            folder = Path(config.model).name
            if folder == "broken":
                raise EngineUnavailable("it did not start")
            made = served.made[folder] = judge(float(folder.removeprefix("prm-")))

            async def close() -> None:
                served.closed.append(folder)

            return Loaded(verifier=made, config=config, version=folder, close=close)

        script = scripted()
        given = {"prm": judge(0.8), "rule": judge(0.7, "rule")}
        app = create_app(
            load_settings(None, **(standard | settings)),
            generators={"mull-tiny": script},
            verifiers=given,
            load=load,
        )
        with serving(app) as url:
            served = Served(url, script)
            with served.http:
                yield served

    return start


def test_a_better_version_takes_over(serve: Serve, models: Path) -> None:
    with serve() as served:
        before = served.verifiers()
        done = served.reload(model=str(models / "prm-0.9"))
        assert done.status_code == 200, done.text
        served.ask()
        assert served.made["prm-0.9"].calls > 1
        after = served.verifiers()
    found = done.json()
    assert found["version"] == after["prm"]["version"] == "prm-0.9"
    assert found["previous_version"] == before["prm"]["version"]
    assert found["loaded_at"] >= before["prm"]["loaded_at"]
    check = after["prm"]["last_check"]
    assert check == found["last_check"]
    assert check["accepted"]
    assert (check["rows"], check["old"]["count"], check["new"]["count"]) == (6, 8, 8)
    assert check["old"]["auc"] == check["new"]["auc"] == 1
    assert check["new"]["brier"] == pytest.approx(0.01)
    assert check["old"]["brier"] == pytest.approx(0.04)
    assert check["new"]["ece"] == pytest.approx(0.1)
    curve = check["new"]["bins"]
    assert len(curve) == 10
    assert sum(part["count"] for part in curve) == 8
    assert curve[9]["observed"] == 1


def test_composites_are_made_again(serve: Serve, models: Path) -> None:
    with serve() as served:
        old = served.verifiers()
        found = served.reload(model=str(models / "prm-0.9")).json()
        assert found["composites"] == ["both", "all"]
        calls = served.made["prm-0.9"].calls
        assert served.ask(strategy="best_of_n", n=2, verifier="all").status_code == 200
        assert served.made["prm-0.9"].calls > calls
        new = served.verifiers()
        assert served.reload(model=str(models / "prm-0.8")).status_code == 200
        served.wait_closed("prm-0.9")
    assert new["rule"]["version"] == old["rule"]["version"]
    assert new["both"]["version"] != old["both"]["version"]


def test_a_worse_version_is_refused_and_closed(serve: Serve, models: Path) -> None:
    with serve() as served:
        refused = served.reload(model=str(models / "prm-0.2"))
        assert refused.status_code == 409
        error = refused.json()["error"]
        assert error["code"] == "verifier_worse"
        assert re.search(r"AUC is 0\.0000, the present one's 1\.0000.*drop of 0\.02", error["message"])
        served.wait_closed("prm-0.2")
        now = served.verifiers()["prm"]
        assert now["version"] != "prm-0.2"
        assert now["last_check"]["accepted"] is False
        assert served.reload(model=str(models / "prm-0.5")).status_code == 409
        allowed = served.reload(model=str(models / "prm-0.5"), check={"max_auc_drop": 0.6})
        assert allowed.json()["version"] == "prm-0.5"
        forced = served.reload(model=str(models / "prm-0.2"), force=True)
        assert forced.json()["version"] == "prm-0.2"
        assert forced.json()["last_check"]["forced"]
        metrics = served.http.get("/metrics").text
    assert 'mull_verifier_reloads_total{outcome="refused",verifier="prm"} 2.0' in metrics
    assert 'mull_verifier_reloads_total{outcome="done",verifier="prm"} 2.0' in metrics


def test_running_requests_keep_their_version_and_none_fails(serve: Serve, models: Path) -> None:
    with serve() as served, ThreadPoolExecutor(16) as pool:
        assert served.reload(model=str(models / "prm-0.9")).status_code == 200
        served.script.hold.clear()
        asked: list[Future[httpx.Response]] = [pool.submit(served.ask) for _ in range(8)]
        while served.http.get("/metrics").text.count('mull_running{model="mull-tiny"} 8.0') == 0:
            pass
        assert served.reload(model=str(models / "prm-0.8")).status_code == 200
        assert served.closed == []
        calls = served.made["prm-0.8"].calls
        later = pool.submit(served.ask)
        while served.http.get("/metrics").text.count('mull_running{model="mull-tiny"} 9.0') == 0:
            pass
        served.script.hold.set()
        assert [future.result().status_code for future in asked] == [200] * 8
        assert later.result().status_code == 200
        assert served.made["prm-0.8"].calls > calls
        assert served.made["prm-0.9"].in_flight == 0
        served.wait_closed("prm-0.9")


def test_a_reload_goes_on_beside_requests_but_not_beside_another(serve: Serve, models: Path) -> None:
    with serve() as served, ThreadPoolExecutor(2) as pool:
        served.hold.clear()
        first = pool.submit(served.reload, model=str(models / "prm-0.9"))
        assert served.loading.wait(20)
        second = served.reload(model=str(models / "prm-0.9"))
        assert second.status_code == 409
        assert second.json()["error"]["code"] == "reload_in_progress"
        assert served.ask().status_code == 200
        served.hold.set()
        assert first.result().status_code == 200
        assert served.reload().status_code == 200


def test_a_version_that_does_not_start_changes_nothing(serve: Serve, models: Path) -> None:
    (models / "broken").mkdir()
    (models / "broken" / "config.json").write_text("{}")
    with serve() as served:
        before = served.verifiers()
        assert served.reload(model=str(models / "broken")).status_code == 503
        assert served.verifiers() == before
        assert served.ask().status_code == 200
        assert served.reload(model=str(models / "prm-0.9")).status_code == 200


def test_without_a_model_the_same_folder_is_read_anew(serve: Serve) -> None:
    with serve() as served:
        assert served.reload().json()["version"] == "prm-0.8"


def test_without_rows_only_force_swaps(serve: Serve) -> None:
    with serve(verifiers_check=None) as served:
        refused = served.reload()
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "check.file"
        forced = served.reload(force=True)
        assert forced.status_code == 200
        assert forced.json()["last_check"]["new"] is None


def test_only_models_beside_the_configured_one_may_be_named(serve: Serve, models: Path) -> None:
    secret = models.parent / "secret"
    secret.mkdir()
    (secret / "config.json").write_text("{}")
    (models / "link").symlink_to(secret)
    (models / "empty").mkdir()
    with serve() as served:
        for model in (secret, models / "link", models / ".." / "secret", models, "/", "prm"):
            refused = served.reload(model=str(model))
            assert refused.status_code == 400, model
            assert refused.json()["error"]["param"] == "model"
            assert "verifier_dirs" in refused.json()["error"]["message"]
        assert "config.json" in served.reload(model=str(models / "empty")).json()["error"]["message"]
    deep = models.parent / "more" / "deep" / "prm-0.9"
    deep.mkdir(parents=True)
    (deep / "config.json").write_text("{}")
    with serve(verifiers_check=None, verifier_dirs=[str(models.parent / "more")]) as served:
        assert served.reload(model=str(deep), force=True).status_code == 200
        assert served.reload(model=str(models / "prm-0.9"), force=True).status_code == 400


def test_rows_may_lie_beside_the_configured_ones(serve: Serve, models: Path, tmp_path: Path) -> None:
    rows(tmp_path / "more.jsonl")
    rows(models / "rows.jsonl")
    with serve() as served:
        assert served.reload(check={"file": str(tmp_path / "more.jsonl")}).status_code == 200
        refused = served.reload(check={"file": str(models / "rows.jsonl")})
        assert refused.json()["error"]["param"] == "check.file"
        assert served.reload(check={"file": str(tmp_path / "no.jsonl")}).status_code == 400


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "no rows"),
        ("{", r"check\.jsonl:1: no JSON"),
        ('{"prompt": [{"role": "user", "content": "?"}]}', r"check\.jsonl:1: .*completions and labels"),
        ('{"prompt": [], "completions": ["a"], "labels": [1]}', r"check\.jsonl:1: prompt"),
        (json.dumps({"prompt": ASK, "completions": ["a"], "labels": [2]}), r"check\.jsonl:1: labels"),
        (json.dumps({"prompt": ASK, "completions": ["a"], "labels": [1, 0]}), "1 completions, but 2 labels"),
        (json.dumps({"prompt": ASK, "completions": ["a\nb\n"], "labels": [1]}), "no row has labels"),
        (json.dumps({"prompt": ASK, "completions": ["a\n"], "labels": [1]}), "right and wrong ones"),
    ],
)
def test_bad_rows_are_named(serve: Serve, tmp_path: Path, line: str, why: str) -> None:
    with serve() as served:
        (tmp_path / "check.jsonl").write_text(line)
        refused = served.reload()
        assert refused.status_code == 400
        assert re.search(why, refused.json()["error"]["message"])
        assert served.ask().status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "status", "param"),
    [
        ("nothing", {}, 404, "name"),
        ("rule", {}, 400, "name"),
        ("both", {}, 400, "name"),
        ("prm", {"model": 3}, 400, "model"),
        ("prm", {"check": {"max_auc_drop": 2}}, 400, "check.max_auc_drop"),
        ("prm", {"path": "x"}, 400, "path"),
    ],
)
def test_wrong_requests_are_refused_by_name(
    serve: Serve, name: str, body: dict[str, Any], status: int, param: str
) -> None:
    with serve() as served:
        refused = served.reload(name, **body)
    assert refused.status_code == status
    assert refused.json()["error"]["param"] == param


def test_reloading_is_for_administrators(serve: Serve) -> None:
    with serve() as served:
        assert served.http.post("/v1/ttc/verifiers/prm/reload", json={}).status_code == 401
        wrong = {"Authorization": "Bearer wrong"}
        assert served.http.post("/v1/ttc/verifiers/prm/reload", json={}, headers=wrong).status_code == 403
