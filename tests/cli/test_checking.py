"""`mull config check` and `mull doctor`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import Result

from mull.server.doctor import machine, software

if TYPE_CHECKING:
    from tests.cli.conftest import Served

Mull = Callable[..., Result]
Findings = dict[str, dict[str, str]]

SOUND = """
host = "127.0.0.1"
[models.far]
url = "http://127.0.0.1:9"
[limits]
tokens = 1000
seconds = 10
"""

WRONG = """
prot = 8
port = 99999
[models.a]
url = "http://far"
reasoning = "thunk"
[models.b]
urll = "http://far"
[verifiers.prm]
kind = "prm"
model = "some/prm"
memory = "much"
[defaults]
strategy = "guess"
verifiers = {outcome = "prm", process = "oracle"}
[presets.careful]
strategy = "beam_search"
parameters = {widht = 8, expand = "four"}
verifier = "other"
[efforts]
high = "carefull"
[limits]
n = 0
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("MULL_")]:
        monkeypatch.delenv(name)


def found(result: Result) -> Findings:
    return {finding["subject"]: finding for finding in json.loads(result.stdout)["findings"]}


def write(folder: Path, text: str) -> Path:
    path = folder / "mull.toml"
    path.write_text(text)
    return path


def test_a_sound_configuration(mull: Mull, tmp_path: Path) -> None:
    result = mull("config", "check", write(tmp_path, SOUND))
    assert result.exit_code == 0
    assert result.stdout == "ok    configuration  serves far on port 8000\nnothing is wrong\n"


def test_everything_wrong_is_named_at_once(mull: Mull, tmp_path: Path) -> None:
    result = mull("config", "check", write(tmp_path, WRONG), "--json")
    assert result.exit_code == 2
    findings = found(result)
    assert {subject: finding["level"] for subject, finding in findings.items()} == dict.fromkeys(
        (
            "prot",
            "port",
            "models.a.reasoning",
            "models.b.urll",
            "verifiers.prm.memory",
            "limits.n",
            "defaults.strategy",
            "defaults.verifiers.process",
            "presets.careful.parameters.widht",
            "presets.careful.parameters.expand",
            "presets.careful.verifier",
            "efforts.high",
        ),
        "fail",
    )
    # Each says what is allowed.
    for subject, allowed in {
        "port": "from 0 to 65535",
        "models.a.reasoning": "'think' or an object",
        "models.b.urll": "served_as",
        "defaults.strategy": "best_of_n",
        "defaults.verifiers.process": "prm",
        "efforts.high": "careful",
    }.items():
        assert allowed in findings[subject]["found"]


def test_what_only_the_start_would_notice(mull: Mull, tmp_path: Path) -> None:
    config = """
    host = "127.0.0.1"
    limits = {tokens = 1, seconds = 1}
    defaults = {verifier = "both"}
    [models.far]
    url = "http://far"
    api_key_env = "FAR_KEY_THAT_IS_NOT_SET"
    [models.near]
    path = "/no/such/folder"
    [verifiers.both]
    kind = "composite"
    of = ["one"]
    """
    result = mull("config", "check", write(tmp_path, config), "--json")
    assert result.exit_code == 2
    assert set(found(result)) == {"models.far.api_key_env", "models.near.path", "verifiers.both.of"}


def test_what_is_odd_is_a_warning(mull: Mull, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_PROT", "80")
    monkeypatch.setenv("MULL_LIMITS__SAMPLES", "8")
    monkeypatch.setenv("MULL_ADMIN_KEY", "secret")
    monkeypatch.setenv("FAR_KEY", "secret")
    config = """
    api_keys = ["short"]
    [models.far]
    url = "http://far"
    api_key_env = "FAR_KEY"
    [verifiers.idle]
    kind = "syntax"
    """
    path = write(tmp_path, config)
    path.chmod(0o644)
    result = mull("config", "check", path)
    assert result.exit_code == 0
    assert "did you mean MULL_PORT?" in result.stdout
    assert "secret" not in result.stdout
    assert "short" not in result.stdout
    findings = found(mull("config", "check", path, "--json"))
    warned = {subject for subject, finding in findings.items() if finding["level"] == "warn"}
    assert warned == {"MULL_PROT", "api_keys", "verifiers.idle", "limits.tokens", "limits.seconds"}
    open_to_all = found(mull("config", "check", "--json"))
    assert "0.0.0.0" in open_to_all["api_keys"]["found"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("port = = 1", "mull.toml: Invalid value (at line 1"), (None, "there is no configuration")],
)
def test_a_file_that_cannot_be_read(mull: Mull, tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "mull.toml"
    if text is not None:
        path.write_text(text)
    result = mull("config", "check", path)
    assert result.exit_code == 2
    assert said in result.stdout


def test_the_doctor_finds_all_well(mull: Mull, served: Served, tmp_path: Path) -> None:
    model = served.model.model
    config = f"""
    host = "127.0.0.1"
    port = 0
    limits = {{tokens = 1, seconds = 1}}
    [models."{model}"]
    url = "{served.url}"
    [traces]
    dir = "{tmp_path}/traces/new"
    """
    result = mull("doctor", "--config", write(tmp_path, config), "--quick", "--json")
    findings = found(result)
    assert result.exit_code == 0, result.stdout
    for subject in ("configuration", "python", "math-verify", "port", "traces.dir", f"models.{model}"):
        assert findings[subject]["level"] == "ok", findings[subject]
    assert {"cpu", "memory", "gpu", "vllm", "compiler", "bubblewrap"} <= findings.keys()


def test_the_doctor_finds_what_fails(mull: Mull, served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = f"""
        host = "127.0.0.1"
        port = {port}
        [models.other]
        url = "{served.url}"
        [models.gone]
        url = "http://127.0.0.1:9/v1"
        [traces]
        dir = "{tmp_path}/file/traces"
        [verifiers.worker]
        kind = "remote"
        judges = "process"
        urls = ["http://127.0.0.1:9"]
        """
        result = mull("doctor", "--config", write(tmp_path, config), "--quick", "--json")
    assert result.exit_code == 1
    findings = found(result)
    failed = {subject for subject, finding in findings.items() if finding["level"] == "fail"}
    assert failed == {"port", "models.gone", "traces.dir", "verifiers.worker"}
    assert findings["models.other"]["level"] == "warn"
    assert served.model.model in findings["models.other"]["remedy"]
    assert all(findings[subject]["remedy"] for subject in failed)


def test_the_doctor_of_a_wrong_configuration_looks_at_the_machine_still(mull: Mull, tmp_path: Path) -> None:
    result = mull("doctor", "--config", write(tmp_path, "port = -1"), "--quick", "--json")
    assert result.exit_code == 1
    findings = found(result)
    assert findings["port"]["level"] == "fail"
    assert findings["python"]["level"] == "ok"


def test_what_is_missing_fails_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)

    def gone(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(software, "version", gone)

    def levels(*, needed: bool) -> dict[str, str]:
        looked = [
            *software.look(engines=needed, sandbox=needed, thorough=False),
            *machine.look(needs_gpu=needed),
        ]
        return {finding.subject: finding.level for finding in looked}

    without, needing = levels(needed=False), levels(needed=True)
    assert (without["vllm"], without["bubblewrap"], without["gpu"]) == ("ok", "ok", "ok")
    assert (needing["vllm"], needing["bubblewrap"], needing["gpu"]) == ("fail", "fail", "fail")
    assert needing["math-verify"] == "fail"


@pytest.mark.slow
@pytest.mark.integration
def test_the_doctor_imports_vllm() -> None:
    pytest.importorskip("vllm")
    (vllm,) = [
        finding
        for finding in software.look(engines=True, sandbox=False, thorough=True)
        if finding.subject == "vllm"
    ]
    assert vllm.level == "ok", vllm
    assert "imports" in vllm.found


def test_a_store_that_does_not_answer_is_told_without_its_url(mull: Mull, tmp_path: Path) -> None:
    socket = f"host={tmp_path}"
    file = write(tmp_path, SOUND + f'[store]\nurl = "postgresql://mull:hunter2@/db?{socket}"\n')
    checked = mull("config", "check", "--json", file)
    assert checked.exit_code == 0  # the server starts without it
    assert found(checked)["store.url"]["level"] == "warn"
    assert found(checked)["store.url"]["found"].startswith("the store cannot be used: ")
    examined = mull("doctor", "--quick", "--json", "--config", file)
    assert found(examined)["store.url"]["level"] == "fail"
    for result in (checked, examined):
        assert "hunter2" not in result.output
        assert "postgresql://" not in result.output


def test_a_store_that_answers_is_left_as_it_is(mull: Mull, tmp_path: Path, database: str) -> None:
    text = SOUND + f'[store]\nurl = "{database}"\n[traces]\ndir = "{tmp_path}"\n'
    file = write(tmp_path, text)
    examined = found(mull("doctor", "--quick", "--json", "--config", file))
    assert examined["store.url"]["level"] == "ok"
    assert "since store.url is set" in found(mull("config", "check", "--json", file))["traces.dir"]["found"]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('mull.version')").fetchone() == (None,)
