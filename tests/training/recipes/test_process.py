"""Process reward models: what is learned where, labels from scripted samples, and a real run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from mull.training import verifier_inputs
from mull.training.bundled.problems import generate_one, to_row
from mull.training.data.rows import Problem, Rollout, Sample
from mull.training.errors import TrainingError
from mull.training.job import Job
from mull.training.recipes import labelling
from mull.training.recipes.process import Prm, balanced, start_head
from mull.training.verifier_inputs import IGNORED, Padded, padding, score_loss, step_loss, step_scores

MODELS = Path(__file__).parents[3] / "models"
QUESTION = [{"role": "user", "content": "Ben owns 3 pens. Ada has 2 more than Ben. How many does Ada have?"}]
STEPS = ["Ada has 2 more than Ben 3 = 5\n", "The answer is \\boxed{5}."]


def row(labels: Sequence[float | None], steps: Sequence[str] = STEPS) -> dict[str, Any]:
    return {"prompt": QUESTION, "completions": list(steps), "labels": list(labels)}


def job(tmp_path: Path, rows: Sequence[dict[str, Any]] = (), **fields: Any) -> Job:
    raw = {"model": str(MODELS / "prm"), "output": tmp_path, "data": {"file": tmp_path / "rows.jsonl"}}
    training = {"learning_rate": 1e-3, "steps": 2, "batch": 2, "micro_batch": 2, "precision": "fp32"}
    recipe = Prm.model_validate({**raw, "training": training, **fields})
    return Job(recipe=recipe, rows=rows)


def learned(tmp_path: Path, rows: Sequence[dict[str, Any]], **fields: Any) -> list[list[tuple[str, float]]]:
    """The tokens that carry a label, with it, of each row that the trainer is given."""
    made = job(tmp_path, rows, **fields)
    trainer = made.recipe.trainer(made)
    return [
        [
            (made.tokenizer.decode([token]), label)
            for token, label in zip(r["input_ids"], r["labels"], strict=True)
            if label != IGNORED
        ]
        for r in trainer.train_dataset
    ]


def test_each_step_is_learned_at_its_last_token_and_nothing_else_is(tmp_path: Path) -> None:
    assert learned(tmp_path, [row([1.0, 0.25])]) == [[("\n", 1.0), ("}.", 0.25)]]


def test_null_labels_are_not_learned(tmp_path: Path) -> None:
    assert learned(tmp_path, [row([None, 0.5]), row([1, None])]) == [[("}.", 0.5)], [("\n", 1.0)]]


def test_what_is_learned_ends_where_the_answer_ends(tmp_path: Path) -> None:
    made = job(tmp_path, [row([1, 1])])
    ids = made.recipe.trainer(made).train_dataset[0]["input_ids"]
    prompt = made.tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False)
    assert ids == prompt + made.tokenizer.encode("".join(STEPS), add_special_tokens=False)


@pytest.mark.parametrize("steps", [["a", "b\n"], ["a\nb\n", "c"], ["a\n", "\n"]])
def test_steps_that_no_server_would_cut_are_refused(tmp_path: Path, steps: list[str]) -> None:
    made = job(tmp_path, [row([1, 1], steps)])
    with pytest.raises(TrainingError, match="are not the steps"):
        made.recipe.trainer(made)


def test_a_row_that_is_too_long_is_named(tmp_path: Path) -> None:
    made = job(tmp_path, [row([1, 1])], training={"max_length": 20})
    with pytest.raises(TrainingError, match=r"20"):
        made.recipe.trainer(made)


def test_soft_labels_are_best_met_by_their_own_probability() -> None:
    labels = torch.tensor([[IGNORED, 0.3, IGNORED, 0.9]])
    logits = torch.zeros(1, 4, 2, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        step_loss(SimpleNamespace(logits=logits), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = logits.softmax(-1)[0, :, 1].tolist()
    assert found == pytest.approx([0.5, 0.3, 0.5, 0.9], abs=0.01)


def test_losses_of_parts_add_up_to_that_of_the_whole() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 2)
    labels = torch.rand(4, 5)
    labels[0, 1:] = IGNORED
    whole = step_loss(SimpleNamespace(logits=logits), labels)
    count = (labels != IGNORED).sum()
    parts = [step_loss(SimpleNamespace(logits=logits[i]), labels[i], count) for i in (slice(1), slice(1, 4))]
    assert float(sum(parts)) == pytest.approx(float(whole))
    scores = torch.randn(4, 1)
    whole = score_loss(SimpleNamespace(logits=scores), labels[:, 0])
    parts = [score_loss(SimpleNamespace(logits=scores[i : i + 1]), labels[i : i + 1, 0], 4) for i in range(4)]
    assert float(sum(parts)) == pytest.approx(float(whole))


def test_padding_is_no_token_in_which_answers_end() -> None:
    ids = {"pad_token_id": 2, "bos_token_id": 1, "unk_token_id": None, "eos_token_id": 2, "name_or_path": "m"}
    assert padding(SimpleNamespace(**ids)) == 1
    with pytest.raises(TrainingError, match="pad"):
        padding(SimpleNamespace(**(ids | {"bos_token_id": None})))


def test_rows_are_padded_on_the_right_with_ignored_labels() -> None:
    batch = Padded(9)(
        [{"input_ids": [1, 2, 3], "labels": [IGNORED, 0.5, 1.0]}, {"input_ids": [4], "labels": [1.0]}]
    )
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 0.5, 1.0], [1.0, IGNORED, IGNORED]]


def test_balance_keeps_as_many_rows_with_an_error_as_without() -> None:
    rows = [{"n": n, "labels": [1.0, None, 0.2] if n % 4 else [0.5, None]} for n in range(20)]
    kept = balanced(rows, 1)
    assert sum(min(x for x in r["labels"] if x is not None) < 0.5 for r in kept) == 5
    assert len(kept) == 10
    assert kept == balanced(rows, 1) == sorted(kept, key=lambda r: r["n"])


def test_a_head_starts_as_the_output_weights_of_two_tokens(tmp_path: Path) -> None:
    solver = str(MODELS / "solver")
    made = job(tmp_path, model=solver)
    start_head(made.model, solver, made.tokenizer, ("Ben", "Ada"))
    ids = [made.tokenizer.convert_tokens_to_ids(token) for token in ("Ben", "Ada")]
    assert torch.equal(made.model.score.weight, made.model.model.embed_tokens.weight[ids])
    with pytest.raises(TrainingError, match="one token"):
        start_head(made.model, solver, made.tokenizer, ("not one", "Ada"))


@pytest.mark.parametrize(
    "labels",
    [{"how": "exact", "k": 2}, {"how": "binary_search", "soft": True}, {"how": "monte_carlo", "k": 0}],
)
def test_settings_of_other_labels_are_refused(tmp_path: Path, labels: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="labels"):
        job(tmp_path, labels=labels)


def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each problem is answered by its reference solution, twice, and by one with a wrong first line."""

    def sample(self: Job, problems: Sequence[Problem], *_: Any, **__: Any) -> list[Rollout]:
        rows = []
        for p in problems:
            assert p.steps
            right = "\n".join(p.steps)
            wrong = "\n".join(["Nobody has 1", *p.steps[1:-1], "The answer is \\boxed{0}."])
            samples = [
                Sample(text=t, finish="stop", tokens=9, right=t == right) for t in (right, right, wrong)
            ]
            rows.append(Rollout(problem=p.id, prompt=p.prompt, answer=p.answer, samples=samples))
        return rows

    def continuations(*_: Any, **__: Any) -> Any:
        return lambda starts, n: [["Nobody" not in prefix] * n for _, prefix, _ in starts]

    monkeypatch.setattr(Job, "sample", sample)
    monkeypatch.setattr(labelling, "continuations", continuations)


@pytest.mark.parametrize(
    "labels",
    [
        {"how": "exact"},
        {"how": "monte_carlo", "k": 4},
        {"how": "monte_carlo", "k": 4, "soft": False},
        {"how": "binary_search", "k": 4},
    ],
)
def test_all_ways_give_the_same_labels_in_a_world_without_luck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: dict[str, Any]
) -> None:
    scripted(monkeypatch)
    (tmp_path / "data").mkdir()
    made = job(tmp_path, data=None, problems={"generate": {"seed": 5, "count": 3}}, labels=labels)
    rows = made.recipe.make(made)
    assert len(rows) == 6
    for good, bad in zip(rows[::2], rows[1::2], strict=True):
        assert good["labels"] == [1.0] * len(good["completions"])
        assert bad["labels"] == [0.0] * len(bad["completions"])
        assert good["source"]["how"] == labels["how"]
    cost = json.loads((tmp_path / "data" / "labels.json").read_text())
    assert (cost["rollouts"] > 0) == (labels["how"] != "exact")
    assert cost["rollouts"] == cost["prefixes"] * labels.get("k", 0)


@pytest.mark.slow
def test_training_from_scripted_samples_raises_the_scores_of_good_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch)
    (tmp_path / "data").mkdir()
    made = job(
        tmp_path,
        data=None,
        model=str(MODELS / "policy"),
        problems={"generate": {"seed": 5, "count": 8}},
        evaluation={"problems": {"generate": {"seed": 6, "count": 4}}},
        labels={"how": "exact"},
        training={"learning_rate": 1e-3, "steps": 12, "batch": 8, "micro_batch": 4},
    )
    made.rows = made.recipe.make(made)
    trainer = made.recipe.trainer(made)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    trainer.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForTokenClassification"]
    assert config["id2label"] == {"0": "bad", "1": "good"}
    figures = made.recipe.figures(made, tmp_path / "model")
    assert figures["AUC of the answer"].value == 1.0
    assert figures["first-error F1"].value > 0.9


@pytest.mark.slow
def test_scores_do_not_depend_on_the_batch() -> None:
    from transformers import AutoTokenizer

    from mull.verifiers.reading import Passage

    rows = []
    for index in range(6):
        problem = Problem.model_validate(to_row(generate_one(4, index)))
        text = "\n".join(problem.steps or [])
        marks = tuple(n + 1 for n, c in enumerate(text) if c == "\n")
        rows.append(([m.model_dump() for m in problem.prompt], Passage(text=text, marks=(*marks, len(text)))))
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "prm")
    readings = verifier_inputs.read(tokenizer, rows, 1024)
    alone = step_scores(MODELS / "prm", readings, batch=1)
    together = step_scores(MODELS / "prm", readings, batch=6)
    for a, b in zip(alone, together, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
