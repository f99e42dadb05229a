from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import mull as package

Mull = Callable[..., Result]

LISTED = (
    *("serve", "verifier", "ask", "chat", "top", "models", "strategies", "verifiers"),
    *("bench", "calibrate", "data", "train", "config", "doctor"),
)


def test_help_names_all_commands_and_exit_codes(mull: Mull) -> None:
    result = mull("--help")
    assert result.exit_code == 0
    for command in LISTED:
        assert f"\n  {command} " in result.stdout
    assert "3 no server answers" in " ".join(result.stdout.split())


def test_version(mull: Mull) -> None:
    assert mull("--version").stdout == f"mull {package.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from mull.server.cli import app; app(['--help'], standalone_mode=False); "
    code += "print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "typer" in loaded
    heavy = {
        "torch",
        "vllm",
        "transformers",
        "openai",
        "matplotlib",
        "numpy",
        "fastapi",
        "uvicorn",
        "aiohttp",
        "sympy",
    }
    assert not heavy & loaded


def test_data_and_train_are_there(mull: Mull) -> None:
    printed = mull("data", "problems", "--count", 2, "--seed", 1)
    assert printed.exit_code == 0, printed.output
    assert len(printed.stdout.splitlines()) == 2
    assert "policy" in mull("train", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serve", "--config", "missing.toml"), "there is no configuration file 'missing.toml'"),
        (("serve", "--port", 99999), "--port"),
        (("verifier", "--model", "m", "--kind", "oracle"), "oracle"),
        (("ask",), "QUESTION"),
        (("dance",), "dance"),
    ],
)
def test_wrong_usage_is_told(mull: Mull, arguments: tuple[object, ...], message: str) -> None:
    result = mull(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_wrong_configuration_names_the_field(mull: Mull, tmp_path: Path) -> None:
    config = tmp_path / "mull.toml"
    config.write_text('[defaults]\nstrategy = "guess"\n')
    result = mull("serve", "--config", config)
    assert result.exit_code == 2
    assert result.stderr.startswith("mull: ")
    assert "unknown strategy 'guess'" in result.stderr


def test_serve_hands_the_settings_on(mull: Mull, monkeypatch: pytest.MonkeyPatch) -> None:
    from mull.server import serve
    from mull.server.settings import Settings

    served: list[Settings] = []

    def fake(settings: Settings, *, json_logs: bool) -> int:
        served.append(settings)
        return 1 + json_logs

    monkeypatch.setattr(serve, "serve", fake)
    assert mull("serve", "--port", 1234, "--host", "127.0.0.1").exit_code == 1
    assert (served[0].port, served[0].host) == (1234, "127.0.0.1")
    assert mull("serve", "--json").exit_code == 2


def test_verifier_hands_its_options_on(mull: Mull, monkeypatch: pytest.MonkeyPatch) -> None:
    from mull.errors import EngineUnavailable
    from mull.verifiers import worker
    from mull.verifiers.config import VerifierConfig

    async def fake(
        model: str, kind: str, *, host: str, port: int, name: str | None, config: VerifierConfig
    ) -> None:
        raise EngineUnavailable(f"{model} {kind} {host} {port} {name} {config.model_dump()['delimiter']}")

    monkeypatch.setattr(worker, "serve_worker", fake)
    given = ("verifier", "--model", "m", "--kind", "prm", "--port", 9, "--name", "x")
    result = mull(*given, "--settings", '{"delimiter": "|"}')
    assert result.exit_code == 1
    assert result.stderr == "mull: m prm 127.0.0.1 9 x |\n"
    for wrong, why in (("{", "property name"), ("[]", "object"), ('{"nonsense": 1}', "nonsense")):
        refused = mull(*given, "--settings", wrong)
        assert refused.exit_code in (1, 2)
        assert re.search(why, refused.stderr)


@pytest.mark.parametrize("command", ["ask", "bench"])
def test_an_interrupt_is_told_in_one_line(command: str, problems: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        arguments = {
            "ask": ["How many?", "--url", url],
            "bench": [str(problems), "--run", "single", "--out", str(tmp_path / "out"), "--url", url],
        }
        line = [
            sys.executable,
            "-c",
            "from mull.server.cli import main; main()",
            command,
            *arguments[command],
        ]
        running = subprocess.Popen(
            line,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Jobs in the background are started with the interrupt ignored, and so would be this one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate()
    assert running.returncode == 130
    assert out == ""
    assert err.strip().splitlines()[-1] == "mull: interrupted"
    assert "Traceback" not in err
