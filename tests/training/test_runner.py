import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")
from safetensors.torch import load_file

from mull.training.config import parse
from mull.training.errors import TrainingError
from mull.training.runner import _checkpoint, dry, prepare, run

POLICY = str(Path(__file__).resolve().parents[2] / "models" / "policy")
PROBLEMS = {"generate": {"seed": 515151, "count": 48}}


def recipe(output: Path, **fields: Any) -> dict[str, Any]:
    training = {"steps": 8, "batch": 8, "micro_batch": 8, "save_every": 2}
    return {
        "recipe": "sft",
        "model": POLICY,
        "output": str(output),
        "problems": PROBLEMS,
        "training": training,
    } | fields


def test_a_dry_run_tells_what_a_training_takes_and_trains_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    dry(parse(recipe(tmp_path / "out", peft={"kind": "lora", "rank": 4})), say=said.append)
    line = said[-1]
    assert "48 rows of about" in line
    assert "8 updates" in line
    # Seven matrices in each of six layers: rank times the sum of both sides.
    rank, sides = 4, 4 * (192 + 192) + 3 * (192 + 512)
    assert f"{6 * rank * sides:,} of 2,807,232 parameters are trained" in line
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sft", {"recipe": "rejection_sampling"}),
        ("stepwise", {"recipe": "prm"}),
        ("grpo", {"recipe": "grpo", "group": 8, "difficulty": [0.1, 0.9]}),
    ],
)
def test_a_dry_run_samples_nothing(tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    said: list[str] = []
    dry(parse(recipe(tmp_path / "out", rollouts={"n": 4}, **fields)), say=said.append)
    assert f"{kind} rows would be made from 48 problems with 4 samples each" in said[0]
    assert not (tmp_path / "out").exists()


def test_evaluation_problems_in_the_training_data_are_fatal(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="evaluation"):
        prepare(parse(recipe(tmp_path / "out", evaluation={"problems": PROBLEMS})), say=lambda _: None)


def test_an_output_of_another_recipe_is_left_alone(tmp_path: Path) -> None:
    prepare(parse(recipe(tmp_path)), say=lambda _: None)
    with pytest.raises(TrainingError, match="another recipe"):
        prepare(parse(recipe(tmp_path, seed=2)), say=lambda _: None)


def test_an_unknown_option_of_the_trainer_is_refused_before_training(tmp_path: Path) -> None:
    training = {"steps": 1, "batch": 8, "micro_batch": 8, "options": {"packin": True}}
    with pytest.raises(TrainingError, match=r"SFTConfig has no field 'packin'.*packing"):
        run(parse(recipe(tmp_path, training=training)), say=lambda _: None)


def test_too_few_problems_for_one_update_are_refused(tmp_path: Path) -> None:
    training = {"steps": 1, "batch": 1024, "micro_batch": 16}
    raw = recipe(tmp_path, recipe="grpo", group=16, engine="transformers", training=training)
    with pytest.raises(TrainingError, match="48 problems are too few: an update takes 64"):
        run(parse(raw), say=lambda _: None)


def test_rows_of_two_forms_are_refused(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "4"}
    question = {"role": "user", "content": "2 + 2?"}
    other = {"role": "user", "content": "3 + 1?"}
    rows = [{"messages": [question, answer]}, {"prompt": [other], "completion": [answer]}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = recipe(tmp_path / "out", problems=None, data={"file": str(file)})
    with pytest.raises(TrainingError, match="mixes rows"):
        prepare(parse(raw), say=lambda _: None)


def test_the_checkpoint_to_go_on_from_is_whole_and_not_the_last_one(tmp_path: Path) -> None:
    for step in (2, 4, 8):
        (tmp_path / f"checkpoint-{step}").mkdir()
        state = {"global_step": step, "max_steps": 8}
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "checkpoint-6").mkdir()
    assert _checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert _checkpoint(tmp_path / "none") is None


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    run(parse(recipe(tmp_path / "whole")), say=lambda _: None)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(tmp_path / "killed")))
    command = [sys.executable, "-c", "from mull.server.cli import main; main()", "train", str(file)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    checkpoint = tmp_path / "killed" / "checkpoints" / "checkpoint-4" / "trainer_state.json"
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    said: list[str] = []
    run(parse(recipe(tmp_path / "killed")), say=said.append)
    if not (tmp_path / "killed" / "model" / "config.json").exists():
        assert any("going on from checkpoint-" in line for line in said)
    first = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    second = load_file(tmp_path / "killed" / "model" / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    base = load_file(Path(POLICY) / "model.safetensors")
    assert any(not torch.equal(first[name], base[name]) for name in first)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(400)
def test_a_run_leaves_model_card_figures_and_exact_recipe(tmp_path: Path) -> None:
    out = tmp_path / "rft"
    held_out = {"problems": {"generate": {"seed": 900001, "count": 20}}, "samples": 2, "max_tokens": 160}
    raw = recipe(
        out,
        recipe="rejection_sampling",
        rollouts={"n": 4, "temperature": 1.0, "max_tokens": 160},
        training={"steps": 2, "batch": 8, "micro_batch": 8},
        peft={"kind": "lora", "rank": 4},
        evaluation=held_out,
    )
    folder = run(parse(raw), say=lambda _: None)
    assert folder == out / "model"
    rollouts = [json.loads(line) for line in (out / "data" / "rollouts.jsonl").read_text().splitlines()]
    assert len(rollouts) == 48
    right = {s["text"] for r in rollouts for s in r["samples"] if s["right"]}
    rows = [json.loads(line) for line in (out / "data" / "train.jsonl").read_text().splitlines()]
    assert rows
    assert {row["completion"][0]["content"] for row in rows} <= right
    figures = json.loads((folder / "figures.json").read_text())
    assert set(figures["policy"]["greedy"]) == {"before", "after", "difference"}
    assert "| greedy |" in (folder / "README.md").read_text()
    assert parse(yaml.safe_load((folder / "recipe.yaml").read_text())) == parse(raw)
    # Merged: the folder has the base model's names and number format, so that it can be served.
    base = load_file(Path(POLICY) / "model.safetensors")
    made = load_file(folder / "model.safetensors")
    assert {n: (w.shape, w.dtype) for n, w in made.items()} == {
        n: (w.shape, w.dtype) for n, w in base.items()
    }
    assert (out / "adapter" / "adapter_model.safetensors").exists()
