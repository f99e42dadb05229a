"""The difficulty head: rates from scripted samples, the prompt alone as input, and a real run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from mull.training.data.rows import Problem, Rollout, Sample
from mull.training.job import Job
from mull.training.recipes.difficulty import Difficulty

MODELS = Path(__file__).parents[3] / "models"


def job(tmp_path: Path, rows: Sequence[dict[str, Any]] = (), **fields: Any) -> Job:
    raw = {"model": str(MODELS / "policy"), "output": tmp_path}
    training = {"learning_rate": 1e-3, "steps": 12, "batch": 16, "micro_batch": 8}
    source = {} if "problems" in fields else {"data": {"file": tmp_path / "rows.jsonl"}}
    return Job(recipe=Difficulty.model_validate({**raw, "training": training, **source, **fields}), rows=rows)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems that say `Find` are solved once in four times, the others always."""

    def sample(self: Job, problems: Sequence[Problem], *_: Any, **__: Any) -> list[Rollout]:
        rows = []
        for p in problems:
            easy = "Find" not in p.prompt[-1].content
            right = [True, easy, easy, easy]
            samples = [Sample(text="5", finish="stop", tokens=1, right=r) for r in right]
            rows.append(Rollout(problem=p.id, prompt=p.prompt, answer=p.answer, samples=samples))
        return rows

    monkeypatch.setattr(Job, "sample", sample)


@pytest.mark.usefixtures("scripted")
def test_rows_are_prompts_with_the_share_of_right_samples(tmp_path: Path) -> None:
    made = job(tmp_path, problems={"generate": {"seed": 5, "count": 20}})
    rows = made.recipe.make(made)
    assert len(rows) == 20
    for row in rows:
        assert row["rate"] == (0.25 if "Find" in row["prompt"][-1]["content"] else 1.0)


def test_nothing_but_the_prompt_is_read(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "What is 2 + 2?"}]
    made = job(tmp_path, [{"prompt": prompt, "rate": 0.5}])
    given = made.recipe.trainer(made).train_dataset[0]
    opened = made.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    assert given == {"input_ids": opened, "labels": 0.5}


@pytest.mark.slow
@pytest.mark.usefixtures("scripted")
def test_a_run_learns_which_problems_are_hard(tmp_path: Path) -> None:
    made = job(
        tmp_path,
        problems={"generate": {"seed": 5, "count": 96}},
        evaluation={"problems": {"generate": {"seed": 6, "count": 40}}},
    )
    made.rows = made.recipe.make(made)
    trainer = made.recipe.trainer(made)
    trainer.train()
    trainer.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    figures = made.recipe.figures(made, tmp_path / "model")
    assert figures["rank correlation"].value > 0.5
    assert figures["Brier score"].value < figures["Brier score of the mean rate"].value
    assert sum(n for _, _, n in figures["reliability"]) == 40
