"""The commands, apart from those that train for minutes."""

import json
import subprocess
import sys

from typer.testing import CliRunner

from mull.training.bundled.problems import generate, to_row
from mull.training.cli import data_app, train_app

HEAVY = "import sys, mull.training.cli; print({'torch', 'transformers'} & sys.modules.keys())"


def test_problems_are_printed_as_json_lines() -> None:
    result = CliRunner().invoke(data_app, ["problems", "--seed", "3", "--count", "4", "--start", "2"])
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows == [to_row(problem) for problem in generate(3, 4, start=2)]


def test_an_empty_range_of_steps_is_refused() -> None:
    result = CliRunner().invoke(data_app, ["problems", "--min-steps", "5", "--max-steps", "4"])
    assert result.exit_code == 2


def test_every_training_command_has_help() -> None:
    for command in ("policy", "solver", "prm", "orm", "evaluate"):
        assert CliRunner().invoke(train_app, [command, "--help"]).exit_code == 0


def test_making_problems_needs_no_heavy_packages() -> None:
    found = subprocess.run([sys.executable, "-c", HEAVY], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
