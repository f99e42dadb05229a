"""A recipe in several processes, as a launcher starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")
from safetensors.torch import load_file

from mull.training import processes
from mull.training.config import parse
from mull.training.errors import TrainingError
from mull.training.rollouts import Task, generate
from mull.training.runner import run

POLICY = Path(__file__).resolve().parents[2] / "models" / "policy"


def launch(recipe: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` starts several processes on GPUs only; its own launcher starts them anywhere."""
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    run = "from mull.server.cli import main; main()"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["--no-python", sys.executable, "-c", run, "train", str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(600)
@pytest.mark.parametrize("peft", [None, {"kind": "lora", "rank": 4}])
def test_two_processes_train_one_model(tmp_path: Path, peft: dict[str, Any] | None) -> None:
    out = tmp_path / "out"
    held_out = {"problems": {"generate": {"seed": 515152, "count": 4}}, "samples": 0, "max_tokens": 160}
    result = launch(
        {
            "recipe": "sft",
            "model": str(POLICY),
            "output": str(out),
            "problems": {"generate": {"seed": 515151, "count": 32}},
            "peft": peft,
            "training": {"epochs": 1, "batch": 8, "micro_batch": 8, "learning_rate": 1.0e-3},
            # The engine starts in the first process only, and not as one of the launcher's.
            "evaluation": held_out if peft is None else None,
        },
        tmp_path,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    # Each process learns 8 of the 32 rows an update.
    assert json.loads((out / "history.json").read_text())["updates"] == 2
    # Only one process speaks, and what is begun is finished.
    assert result.stderr.count("32 rows of about") == 1
    assert not [*out.rglob("*.part"), *out.rglob("whole")]
    if peft is None:
        figures = json.loads((out / "model" / "figures.json").read_text())
        assert set(figures["policy"]["greedy"]) == {"before", "after", "difference"}
    else:
        assert (out / "adapter" / "adapter_model.safetensors").exists()
    base, made = (load_file(folder / "model.safetensors") for folder in (POLICY, out / "model"))
    assert {n: (w.shape, w.dtype) for n, w in made.items()} == {
        n: (w.shape, w.dtype) for n, w in base.items()
    }
    assert all(torch.isfinite(weight).all() for weight in made.values())
    assert any(not torch.equal(made[name], base[name]) for name in base)


def test_rounds_are_for_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Two:
        num_processes, is_main_process = 2, True

    monkeypatch.setattr("mull.training.runner.join", Two)
    recipe = {
        "recipe": "iterate",
        "model": str(POLICY),
        "output": str(tmp_path / "out"),
        "problems": {"generate": {"seed": 1, "count": 4}},
        "improve": {"recipe": "rejection_sampling"},
        "held_out": {"problems": {"generate": {"seed": 2, "count": 2}}},
    }
    with pytest.raises(TrainingError, match="one process"):
        run(parse(recipe))
    assert not (tmp_path / "out").exists()


def test_without_a_launcher_there_is_one_process() -> None:
    here = processes.join()
    assert (here.num_processes, here.is_main_process) == (1, True)


def test_the_engine_hears_nothing_of_the_launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_USE_AGENT_STORE"}
    for name in told:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", "kept")
    seen: dict[str, str] = {}

    def remember(*_: Any, env: dict[str, str], **__: Any) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(subprocess, "run", remember)
    task = Task(requests=tmp_path / "a", out=tmp_path / "b", n=1, temperature=1, max_tokens=1)
    generate([task], model="m", seed=1)
    assert seen["HF_HOME"] == "kept"
    assert (
        not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_USE_AGENT_STORE"} & seen.keys()
    )
