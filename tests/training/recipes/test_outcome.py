"""Outcome reward models: rows from scripted samples, tokens as served, and real runs of both losses."""

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
from mull.training.recipes.outcome import Orm, OrmPairs
from mull.training.verifier_inputs import scores
from mull.verifiers.reading import Reading

MODELS = Path(__file__).parents[3] / "models"
QUESTION = [{"role": "user", "content": "Ben owns 3 pens. Ada has 2 more than Ben. How many does Ada have?"}]
TRAINING = {"learning_rate": 1e-3, "steps": 10, "batch": 8, "micro_batch": 4}
KINDS = pytest.mark.parametrize("kind", [Orm, OrmPairs])


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def job(kind: type[Orm], tmp_path: Path, rows: Sequence[dict[str, Any]] = (), **fields: Any) -> Job:
    raw = {"model": str(MODELS / "policy"), "output": tmp_path, "training": TRAINING}
    source = {} if "problems" in fields else {"data": {"file": tmp_path / "rows.jsonl"}}
    return Job(recipe=kind.model_validate({**raw, **source, **fields}), rows=rows)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each problem is answered once by its reference solution, and twice wrongly."""

    def sample(self: Job, problems: Sequence[Problem], *_: Any, **__: Any) -> list[Rollout]:
        rows = []
        for p in problems:
            assert p.steps
            texts = ["\n".join(p.steps), "The answer is \\boxed{0}.", "The answer is \\boxed{199}."]
            samples = [Sample(text=t, finish="stop", tokens=9, right=n == 0) for n, t in enumerate(texts)]
            rows.append(Rollout(problem=p.id, prompt=p.prompt, answer=p.answer, samples=samples))
        return rows

    monkeypatch.setattr(Job, "sample", sample)


PROBLEMS = {"generate": {"seed": 5, "count": 12}}


@pytest.mark.usefixtures("scripted")
def test_right_and_wrong_answers_are_in_balance(tmp_path: Path) -> None:
    made = job(Orm, tmp_path, problems=PROBLEMS)
    rows = made.recipe.make(made)
    assert sorted(row["label"] for row in rows) == [0.0] * 12 + [1.0] * 12
    assert all((row["label"] == 0) == (len(row["completion"][0]["content"]) < 30) for row in rows)


@pytest.mark.usefixtures("scripted")
def test_pairs_prefer_the_right_answer(tmp_path: Path) -> None:
    made = job(OrmPairs, tmp_path, problems=PROBLEMS, each=2)
    rows = made.recipe.make(made)
    assert len(rows) == 24
    assert all(len(r["chosen"][0]["content"]) > len(r["rejected"][0]["content"]) for r in rows)


def test_answers_are_closed_as_the_server_closes_them(tmp_path: Path) -> None:
    made = job(Orm, tmp_path, [{"prompt": QUESTION, "completion": said("5"), "label": 1}])
    whole = made.tokenizer.apply_chat_template(QUESTION + said("5"), return_dict=False)
    assert whole[-1] == made.tokenizer.eos_token_id
    given = made.recipe.trainer(made).train_dataset[0]
    assert given == {"input_ids": whole, "labels": 1.0}
    paired = job(OrmPairs, tmp_path, [{"prompt": QUESTION, "chosen": said("5"), "rejected": said("6")}])
    sides = paired.recipe.trainer(paired).train_dataset[0]
    assert sides["chosen_ids"] == whole
    assert sides["rejected_ids"] == paired.tokenizer.apply_chat_template(
        QUESTION + said("6"), return_dict=False
    )


@KINDS
@pytest.mark.slow
@pytest.mark.usefixtures("scripted")
def test_a_run_learns_to_prefer_right_answers(kind: type[Orm], tmp_path: Path) -> None:
    evaluation = {"problems": {"generate": {"seed": 6, "count": 4}}}
    made = job(kind, tmp_path, problems=PROBLEMS, evaluation=evaluation)
    made.rows = made.recipe.make(made)
    trainer = made.recipe.trainer(made)
    trainer.train()
    trainer.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["id2label"] == {"0": "right"}
    figures = made.recipe.figures(made, tmp_path / "model")
    assert figures["AUC of the answer"].value == 1.0
    assert figures["best-of-3"].value == 1.0


@pytest.mark.slow
def test_a_score_is_read_at_the_last_token_whatever_the_batch() -> None:
    readings = [Reading(ids=[*range(10, 10 + n), 2], start=0, marks=()) for n in (3, 9, 5)]
    together = scores(MODELS / "orm", readings)
    for reading, score in zip(readings, together, strict=True):
        assert scores(MODELS / "orm", [reading]) == [pytest.approx(score, abs=1e-4)]
    assert together[0] != pytest.approx(
        scores(MODELS / "orm", [Reading(readings[0].ids[:-1], 0, ())])[0], abs=1e-4
    )
