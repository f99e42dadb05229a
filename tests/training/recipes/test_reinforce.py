import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mull.training.config import parse
from mull.training.recipes.reinforce import LOSSES, Grpo

POLICY = str(Path(__file__).resolve().parents[3] / "models" / "policy")


def raw(output: Path, **fields: Any) -> dict[str, Any]:
    return {
        "recipe": "grpo",
        "model": POLICY,
        "output": str(output),
        "problems": {"generate": {"seed": 616161, "count": 64}},
        "group": 8,
        "max_tokens": 140,
        "training": {"batch": 64, "micro_batch": 32},
    } | fields


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_each_member_of_the_family_sets_fields_that_trl_has(tmp_path: Path, name: str) -> None:
    pytest.importorskip("trl")
    from trl import GRPOConfig

    from mull.training.job import Job

    recipe = parse(raw(tmp_path, recipe=name, engine="transformers"))
    assert isinstance(recipe, Grpo)
    args = Job(recipe=recipe).arguments(GRPOConfig, **recipe._common([1.0]), **LOSSES[name])
    for field, value in LOSSES[name].items():
        assert getattr(args, field) == value
    assert (args.generation_batch_size, args.num_generations) == (64, 8)


@pytest.mark.slow  # importing TRL's trainer takes seconds
def test_advantages_above_zero_are_weighted_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    trl = pytest.importorskip("trl")
    from mull.training.recipes.weighted import WeightedGRPOTrainer

    scored = {"advantages": torch.tensor([1.5, -0.5, 0.0]), "other": 1}
    monkeypatch.setattr(trl.GRPOTrainer, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(trl.GRPOTrainer, "_generate_and_score_completions", lambda *_: dict(scored))
    found = WeightedGRPOTrainer(positive_weight=0.1)._generate_and_score_completions([])
    assert found["advantages"].tolist() == pytest.approx([0.15, -0.5, 0.0])
    assert found["other"] == 1


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(600)
def test_vllm_in_this_process_samples_with_the_weights_that_were_just_trained(tmp_path: Path) -> None:
    # A rate that ruins the model at once: had vLLM kept the old weights, rewards would stay where they were.
    training = {"steps": 2, "batch": 64, "micro_batch": 32, "learning_rate": 0.5, "warmup": 0, "clip": 1e6}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(raw(tmp_path / "out", training=training)))
    command = [sys.executable, "-c", "from mull.server.cli import main; main()", "train", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    log = json.loads((tmp_path / "out" / "history.json").read_text())["log"]
    first, second = (entry["reward"] for entry in log if "reward" in entry)
    # Half of the samples at temperature 1 are right.
    assert first > 0.2
    assert second < 0.05
