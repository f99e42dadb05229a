"""`mull data rollouts`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mull.training import rollouts
from mull.training.cli import data_app
from mull.training.data.rows import Problem, Rollout, Sample, read
from mull.training.errors import TrainingError

POLICY = str(Path(__file__).resolve().parents[3] / "models" / "policy")


class Drawn:
    """Stands for `roll_out`: remembers what it was asked, and gives a right and a wrong sample."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def __call__(self, problems: Sequence[Problem], path: Path, **how: Any) -> list[Rollout]:
        self.asked = {"problems": problems, "path": path, **how}
        samples = [Sample(text=t, finish="stop", right=r) for t, r in (("a", True), ("b", False))]
        return [Rollout(problem=p.id, prompt=p.prompt, samples=samples) for p in problems]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    drawn = Drawn()
    monkeypatch.setattr(rollouts, "roll_out", drawn)
    return drawn


def ask(*options: str) -> Any:
    return CliRunner().invoke(data_app, ["rollouts", *options])


def test_what_is_asked_for_is_drawn(drawn: Drawn, tmp_path: Path) -> None:
    out = tmp_path / "rollouts.jsonl"
    options = ["--seed", "3", "--count", "5", "--n", "2", "--temperature", "0.7", "--max-tokens", "9"]
    result = ask("--model", "m", *options, "--logprobs", "--sampling-seed", "8", "--out", str(out))
    assert result.exit_code == 0
    assert [(p.seed, p.index) for p in drawn.asked["problems"]] == [(3, n) for n in range(5)]
    how = rollouts.Rollouts(n=2, temperature=0.7, max_tokens=9, logprobs=True)
    assert (drawn.asked["rollouts"], drawn.asked["model"], drawn.asked["seed"]) == (how, "m", 8)
    assert drawn.asked["path"] == out
    assert "10 samples of 5 problems, 50.0% right" in result.stderr


def test_problems_come_from_a_file_and_searches_from_a_server(drawn: Drawn, tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps({"question": f"{n}?", "answer": str(n)}) + "\n" for n in range(3)))
    ttc = '{"strategy": "beam_search", "width": 4}'
    server = ["--url", "http://127.0.0.1:8000/v1", "--ttc", ttc, "--api-key-env", "KEY"]
    result = ask("--model", "tiny", "--problems", str(file), "--count", "2", *server, "--out", "out.jsonl")
    assert result.exit_code == 0
    assert [p.answer for p in drawn.asked["problems"]] == ["0", "1"]
    how = drawn.asked["rollouts"]
    assert (how.served_as, how.api_key_env, how.ttc) == ("tiny", "KEY", json.loads(ttc))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--ttc", '{"strategy": "bfs"}'], "only go with url"),
        (["--ttc", "[1]", "--url", "http://x/v1"], "--ttc is an object"),
        (["--ttc", "{", "--url", "http://x/v1"], "--ttc is not JSON"),
        (["--url", "x"], "--url: "),
        (["--n", "5000"], "--n: "),
        (["--problems", __file__, "--seed", "1"], "exclude each other"),
    ],
)
def test_wrong_options_are_named(drawn: Drawn, options: list[str], told: str) -> None:
    result = ask("--model", "m", "--out", "out.jsonl", *options)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert not drawn.asked


def test_a_model_that_cannot_be_sampled_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise TrainingError("sampling from m failed")

    monkeypatch.setattr(rollouts, "roll_out", fail)
    result = ask("--model", "m", "--out", str(tmp_path / "out.jsonl"))
    assert result.exit_code == 2
    assert result.stderr == "mull: sampling from m failed\n"


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(400)
def test_the_bundled_policy_is_sampled_once(tmp_path: Path) -> None:
    out = tmp_path / "rollouts.jsonl"
    options = ["--model", POLICY, "--seed", "616161", "--count", "4", "--n", "2", "--max-tokens", "160"]
    first = ask(*options, "--out", str(out))
    assert first.exit_code == 0, first.stderr
    rows = read(out, Rollout)
    assert [len(row.samples) for row in rows] == [2] * 4
    assert all(sample.right is not None for row in rows for sample in row.samples)
    written = out.read_bytes()
    again = ask(*options, "--out", str(out))
    assert again.stderr == first.stderr
    assert out.read_bytes() == written
    refused = ask(*options, "--temperature", "0.5", "--out", str(out))
    assert refused.exit_code == 2
    assert "other settings" in refused.stderr
