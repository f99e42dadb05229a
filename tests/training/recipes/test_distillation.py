"""Distillation and the generative verifier: rows from scripted teachers, and real runs of a few updates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

pytest.importorskip("torch")
pytest.importorskip("trl")

from mull.training import verdicts
from mull.training.bundled.wording import CHECK
from mull.training.data.rows import Grpo, Problem, Rollout, Sample, Sft
from mull.training.errors import TrainingError
from mull.training.job import Job
from mull.training.recipes.base import Recipe
from mull.training.recipes.distillation import Distill, DistillLogits
from mull.training.recipes.generative import GenerativeVerifier

MODELS = Path(__file__).resolve().parents[3] / "models"
PROBLEMS = {"generate": {"seed": 6, "count": 3, "max_steps": 3}}
RECIPES: dict[str, type[Recipe]] = {
    "distill": Distill,
    "distill_logits": DistillLogits,
    "generative_verifier": GenerativeVerifier,
}


def job(tmp_path: Path, kind: str, rows: Sequence[dict[str, Any]] = (), **fields: Any) -> Job:
    raw = {"recipe": kind, "model": str(MODELS / "policy"), "output": tmp_path, "problems": PROBLEMS}
    return Job(recipe=RECIPES[kind].model_validate({**raw, **fields}), rows=rows)


def sampled(text: str, right: bool | None) -> Sample:
    return Sample(text=text, finish="stop", tokens=4, right=right)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Who was asked for samples: two right ones, of which one is twice there, and a wrong one."""
    models: list[str | None] = []

    def sample(
        self: Job, problems: Sequence[Problem], name: str, rollouts: Any = None, model: str | None = None
    ) -> list[Rollout]:
        models.append(model)
        samples = [
            sampled("one", True),
            sampled("one", True),
            sampled("other way", True),
            sampled("no", False),
        ]
        return [Rollout(problem=p.id, prompt=p.prompt, samples=samples) for p in problems]

    monkeypatch.setattr(Job, "sample", sample)
    return models


def completions(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [Sft.model_validate(row).completion[0].content for row in rows]  # type: ignore[index]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, {"one", "other way"}),
        ({"right": False}, {"one", "other way", "no"}),
        ({"each": 1, "order": "shortest"}, {"one"}),
    ],
)
def test_distinct_answers_of_the_teacher_are_learned(
    tmp_path: Path, asked: list[str | None], answers: dict[str, Any], expected: set[str]
) -> None:
    made = job(tmp_path, "distill", teacher="big", answers=answers)
    assert sorted(completions(made.recipe.make(made))) == sorted([*expected] * 3)
    assert asked == ["big"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rollouts": {"n": 2}},
        {"teacher": "big", "rollouts": {"url": "http://127.0.0.1:1/v1"}},
        {"teacher": "big", "rollouts": {"file": "rollouts.jsonl"}},
    ],
)
def test_there_is_one_teacher(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give one teacher"):
        job(tmp_path, "distill", **fields)


def test_a_search_can_be_the_teacher(tmp_path: Path, asked: list[str | None]) -> None:
    served = {"url": "http://127.0.0.1:1/v1", "ttc": {"strategy": "best_of_n", "n": 4}}
    made = job(tmp_path, "distill", rollouts=served)
    assert completions(made.recipe.make(made))
    assert asked == [None]


def test_on_policy_distillation_needs_prompts_only(tmp_path: Path) -> None:
    made = job(tmp_path, "distill_logits", teacher="big")
    assert [Grpo.model_validate(row).prompt[0].role for row in made.recipe.make(made)] == ["user"] * 3


def test_the_teacher_has_the_same_vocabulary(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(MODELS / "policy")
    other.add_tokens(["another"])
    other.save_pretrained(tmp_path / "teacher")
    made = job(tmp_path, "distill_logits", teacher=str(tmp_path / "teacher"))
    with pytest.raises(TrainingError, match="has another vocabulary"):
        made.recipe.trainer(made)


def test_virtual_tokens_cannot_learn_from_distributions(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"peft\.kind: prompt has no effect on this loss"):
        job(tmp_path, "distill_logits", teacher="big", peft={"kind": "prompt"})


def test_verdicts_are_learned_and_some_solutions(tmp_path: Path, asked: list[str | None]) -> None:
    made = job(tmp_path, "generative_verifier", verdicts={"solutions": 1})
    rows = [Sft.model_validate(row) for row in made.recipe.make(made)]
    judged = [row for row in rows if row.prompt is not None and row.prompt[-1].content == CHECK]
    told = {(row.prompt[-2].content, row.completion[0].content) for row in judged}  # type: ignore[index]
    assert told <= {("one", "Yes"), ("other way", "Yes"), ("no", "No")}
    assert len(judged) == 6
    assert len(rows) - len(judged) == 3
    without = job(tmp_path, "generative_verifier", verdicts={"solutions": 0})
    assert len(without.recipe.make(without)) == 6
    assert asked == [None, None]


def test_figures_tell_a_good_verifier(
    tmp_path: Path, asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        verdicts,
        "probabilities",
        lambda dialogues, **_: [0.2 if d[-2]["content"] == "no" else 0.9 for d in dialogues],
    )
    evaluation = {"problems": {"generate": {"seed": 7, "count": 3}}, "samples": 4}
    made = job(tmp_path, "generative_verifier", evaluation=evaluation)
    assert made.recipe.figures(made, tmp_path)["AUC of the answer"].value == 1.0
    unmeasured = job(tmp_path, "generative_verifier")
    assert unmeasured.recipe.figures(unmeasured, tmp_path) == {}
    assert asked == [None]


TRAINING = {"steps": 8, "batch": 8, "micro_batch": 8, "learning_rate": 3e-4, "warmup": 0}


@pytest.mark.slow
def test_the_student_comes_closer_to_its_teacher(tmp_path: Path) -> None:
    problems = {"generate": {"seed": 6, "count": 8, "min_steps": 4, "max_steps": 4}}
    made = job(
        tmp_path,
        "distill_logits",
        teacher=str(MODELS / "solver"),
        max_tokens=60,
        problems=problems,
        training=TRAINING | {"options": {"beta": 0.0, "temperature": 0.5}},
    )
    made.rows = made.recipe.make(made)
    trainer = made.recipe.trainer(made)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-3:]) < sum(losses[:3])


@pytest.mark.slow
def test_a_verdict_is_learned(tmp_path: Path) -> None:
    """That everything is wrong, which the policy does not think at first."""
    prompt = [{"role": "user", "content": "Uma has 2. Lea has 3 more than Uma. How many does Lea have?"}]
    answer = "Lea has 3 more than Uma 2 = 5\nThe answer is \\boxed{5}."
    dialogue = verdicts.ask(prompt, answer, CHECK)
    rows = [{"prompt": [*dialogue], "completion": [{"role": "assistant", "content": "No"}]}] * 8
    made = job(tmp_path, "generative_verifier", rows, training=TRAINING)
    before = verdicts.probabilities([dialogue], model=str(MODELS / "policy"))[0]
    trainer = made.recipe.trainer(made)
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    made.tokenizer.save_pretrained(tmp_path / "model")
    assert verdicts.probabilities([dialogue], model=str(tmp_path / "model"))[0] < 0.5 * before
