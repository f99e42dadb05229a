"""The commands write rows and say with exit code 2 what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from mull.training.bundled.problems import generate, to_row
from mull.training.data.check import check
from mull.training.data.cli import app
from mull.training.data.kinds import Kind
from mull.training.data.rows import write

if TYPE_CHECKING:
    from tests.training.data.conftest import Make


def invoke(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(to_row(problem)) + "\n" for problem in generate(3, 40)))
    return path


@pytest.fixture
def rollouts(tmp_path: Path, rollout: Make) -> Path:
    path = tmp_path / "rollouts.jsonl"
    rows = [rollout(str(n), ["good", "fine", "nice"], ["bad", "poor"][: n % 3], score=0.3) for n in range(6)]
    write(path, rows)
    return path


def test_good_data_pass(problems: Path) -> None:
    result = invoke("check", problems, "--as", "problem")
    assert result.exit_code == 0
    assert "40 rows of kind problem, fit to use" in " ".join(result.stdout.split())


def test_faulty_data_end_with_2_and_the_report(problems: Path) -> None:
    result = invoke("check", problems, "--as", "problem", "--against", problems)
    assert result.exit_code == 2
    assert "not fit to use" in " ".join(result.stdout.split())
    assert "evaluation" in result.stdout


def test_a_faulty_evaluation_file_is_told(problems: Path, tmp_path: Path) -> None:
    (tmp_path / "eval.jsonl").write_text('{"id": "a"}')
    result = invoke("check", problems, "--as", "problem", "--against", tmp_path / "eval.jsonl")
    assert result.exit_code == 2
    assert "eval.jsonl, line 1: prompt: Field required" in result.stderr


def test_a_split_gives_two_clean_files(problems: Path, tmp_path: Path) -> None:
    assert invoke("split", problems, "--share", 0.25, "--seed", 1).exit_code == 0
    train, test = tmp_path / "problems.train.jsonl", tmp_path / "problems.test.jsonl"
    lines = train.read_text().splitlines() + test.read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(f"3-{n}" for n in range(40))
    assert test.read_text()
    assert invoke("check", train, "--as", "problem", "--against", test).exit_code == 0


def test_rows_without_problems_cannot_be_split(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": [{"role": "user", "content": "?"}], "answer": "4"}')
    result = invoke("split", path, "--as", "grpo")
    assert result.exit_code == 2
    assert "no `problem`" in result.stderr


def test_selected_rows_are_fit_for_training(rollouts: Path, tmp_path: Path) -> None:
    out = tmp_path / "sft.jsonl"
    result = invoke("select", rollouts, "--out", out, "--each", 2, "--order", "shortest", "--hard-first")
    assert result.exit_code == 0
    report = check(out, "sft")
    assert report.faults == ()
    assert report.rows == 6


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("dpo", "preference"),
        ("kto", "unpaired"),
        ("orm", "outcome"),
        ("difficulty", "difficulty"),
        ("verifier", "sft"),
    ],
)
def test_made_rows_are_fit_for_training(target: str, kind: Kind, rollouts: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    result = invoke("pairs", rollouts, "--for", target, "--out", out)
    assert result.exit_code == 0, result.output
    report = check(out, kind)
    assert report.faults == ()
    assert f"{report.rows} rows of" in result.stderr


def test_rollouts_that_give_nothing_are_told(rollouts: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    result = invoke("pairs", rollouts, "--for", "dpo", "--by", "score", "--out", out)
    assert result.exit_code == 2
    assert "give no rows" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("extra", [("--margin", 0.1), ("--by", "score", "--choose", "prefix")])
def test_options_that_would_be_ignored_are_refused(
    extra: tuple[str, ...], rollouts: Path, tmp_path: Path
) -> None:
    result = invoke("pairs", rollouts, "--for", "dpo", "--out", tmp_path / "rows.jsonl", *extra)
    assert result.exit_code == 2
    assert "goes with" in result.stderr


def test_starting_is_light() -> None:
    code = "import sys, mull.training.data.cli; print({'pydantic', 'torch', 'regex'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
