"""`--json`: what a command found, on standard output, for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from mull.server import logs

from .conftest import Served

Mull = Callable[..., Result]


def test_bench_prints_its_report(served: Served, mull: Mull, problems: Path, tmp_path: Path) -> None:
    run = ("--run", "single:temperature=0", "--limit", 2, "--out", tmp_path / "o", "--url", served.url)
    result = mull("bench", problems, *run, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((tmp_path / "o/report.json").read_text())


def test_calibrate_prints_its_report(served: Served, mull: Mull, problems: Path, tmp_path: Path) -> None:
    runs = ("--run", "majority_vote:n=2", "--run", "majority_vote:n=4", "--samples", 2, "--folds", 2)
    out = ("--out", tmp_path / "o", "--temperature", 1, "--url", served.url)
    result = mull("calibrate", "--problems", problems, *runs, *out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((tmp_path / "o/report.json").read_text())


def test_data_commands_say_what_they_wrote(mull: Mull, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(mull("data", "problems", "--count", 10).stdout)
    said = mull("data", "split", rows, "--share", 0.3, "--json").stdout.splitlines()
    assert sum(json.loads(line)["rows"] for line in said) == 10
    assert json.loads(said[0])["file"] == str(tmp_path / "rows.train.jsonl")
    found = mull("data", "check", rows, "--as", "problem", "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout) == {
        "path": str(rows),
        "kind": "problem",
        "rows": 10,
        "faults": [],
        "fit": True,
    }
    rows.write_text("{}\n")
    broken = mull("data", "check", rows, "--as", "problem", "--json")
    assert broken.exit_code == 2
    assert json.loads(broken.stdout)["fit"] is False


def test_the_log_of_a_server_is_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure("info", as_json=True)
        try:
            raise ValueError("wrong\nvery")
        except ValueError:
            with logs.Serving("mine-7"):
                logging.getLogger("mull.test").exception("it is %s", "broken")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "mull.test" in line]
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "mull.test", "it is broken")
    assert line["request"] == "mine-7"
    assert line["time"].endswith("+00:00")
    assert "ValueError: wrong\nvery" in line["exception"]
