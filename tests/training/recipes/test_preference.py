"""Preferences: rows from scripted samples, their tokens in TRL's trainers, and real runs of a few updates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
from transformers import AutoTokenizer

from mull.training import verdicts
from mull.training.bundled.wording import CHECK
from mull.training.data.problems import ProblemSource, load
from mull.training.data.rows import Message, Preference, Problem, Rollout, Sample, Unpaired
from mull.training.errors import TrainingError
from mull.training.job import Job
from mull.training.recipes.base import Recipe
from mull.training.recipes.preference import Dpo, Kto, Orpo, SimPo

POLICY = str(Path(__file__).resolve().parents[3] / "models" / "policy")
RECIPES: dict[str, type[Recipe]] = {"dpo": Dpo, "simpo": SimPo, "orpo": Orpo, "kto": Kto}
PAIRED = ("dpo", "simpo", "orpo")
PROMPT = [{"role": "user", "content": "Lea has 3 more than Uma. Uma has 2."}]
GOOD, BAD = "Lea has 3 more than Uma 2 = 5\nThe answer is \\boxed{5}.", "The answer is \\boxed{6}."
TRAINING = {
    "steps": 6,
    "batch": 16,
    "micro_batch": 8,
    "learning_rate": 1e-4,
    "warmup": 0,
    "schedule": "constant",
}


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def recipe_of(kind: str, output: Path, **fields: Any) -> Recipe:
    source = {} if "problems" in fields else {"data": {"file": "rows.jsonl"}}
    raw = {"recipe": kind, "model": POLICY, "output": output, "training": TRAINING}
    return RECIPES[kind].model_validate({**raw, **source, **fields})


def rows_of(kind: str, count: int = 1) -> list[dict[str, Any]]:
    """Solutions preferred to solutions that end in a wrong answer."""
    if count == 1:
        told = [(PROMPT, GOOD, BAD)]
    else:
        source = ProblemSource.model_validate({"generate": {"seed": 77, "count": count, "max_steps": 3}})
        told = [
            (
                [m.model_dump() for m in p.prompt],
                "\n".join(p.steps or ()),
                "\n".join([*(p.steps or ())[:-1], "The answer is \\boxed{999}."]),
            )
            for p in load(source)
        ]
    if kind == "kto":
        return [
            {"prompt": prompt, "completion": answer(text), "label": label}
            for prompt, good, bad in told
            for text, label in ((good, True), (bad, False))
        ]
    return [{"prompt": prompt, "chosen": answer(good), "rejected": answer(bad)} for prompt, good, bad in told]


def sampled(text: str, right: bool, logprob: float | None = None) -> Sample:
    return Sample(text=text, finish="stop", tokens=8, right=right, logprob=logprob)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two right and two wrong samples of every problem; a judge who likes long answers."""

    def sample(self: Job, problems: Sequence[Problem], *_: Any, **__: Any) -> list[Rollout]:
        samples = [
            sampled("likely right", True, -1.0),
            sampled("unlikely right, and long", True, -9.0),
            sampled("likely wrong!", False, -2.0),
            sampled("unlikely wrong", False, -8.0),
        ]
        return [Rollout(problem=p.id, prompt=p.prompt, samples=samples) for p in problems]

    def like(dialogues: Sequence[Sequence[Mapping[str, Any]]], **_: Any) -> list[float]:
        return [min(1.0, len(d[-2]["content"]) / 24) for d in dialogues]

    monkeypatch.setattr(Job, "sample", sample)
    monkeypatch.setattr(verdicts, "probabilities", like)


PROBLEMS = {"generate": {"seed": 5, "count": 3}}


def made(tmp_path: Path, kind: str, **fields: Any) -> list[dict[str, Any]]:
    job = Job(recipe=recipe_of(kind, tmp_path, problems=PROBLEMS, **fields))
    return job.recipe.make(job)


def texts(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["chosen"][0]["content"], row["rejected"][0]["content"]


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("kind", PAIRED)
def test_right_samples_are_preferred_to_wrong_ones(tmp_path: Path, kind: str) -> None:
    rows = made(tmp_path, kind, pairs={"each": 2})
    assert len(rows) == 6
    for row in rows:
        Preference.model_validate(row)
        chosen, rejected = texts(row)
        assert "right" in chosen
        assert "wrong" in rejected


@pytest.mark.usefixtures("scripted")
def test_the_hardest_pair_is_an_unlikely_right_and_a_likely_wrong_sample(tmp_path: Path) -> None:
    rows = made(tmp_path, "dpo", pairs={"each": 1, "choose": "hardest"}, rollouts={"logprobs": True})
    assert {texts(row) for row in rows} == {("unlikely right, and long", "likely wrong!")}


@pytest.mark.usefixtures("scripted")
def test_a_judge_decides_in_place_of_the_references(tmp_path: Path) -> None:
    rows = made(tmp_path, "dpo", feedback={"margin": 0.4})
    assert {texts(row) for row in rows} == {("unlikely right, and long", "likely right")}
    assert made(tmp_path, "dpo", feedback={"margin": 0.6}) == []


@pytest.mark.usefixtures("scripted")
def test_single_samples_are_wanted_when_they_are_right_or_liked(tmp_path: Path) -> None:
    rows = [Unpaired.model_validate(row) for row in made(tmp_path, "kto", each=4)]
    assert {(row.completion[0].content, row.label) for row in rows} == {
        ("likely right", True),
        ("unlikely right, and long", True),
        ("likely wrong!", False),
        ("unlikely wrong", False),
    }
    liked = [Unpaired.model_validate(row) for row in made(tmp_path, "kto", feedback={"margin": 0.0})]
    assert {row.completion[0].content: row.label for row in liked}["unlikely wrong"] is True


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("dpo", {"problems": PROBLEMS, "pairs": {"choose": "hardest"}}, "needs `rollouts.logprobs: true`"),
        ("dpo", {"sft_weight": 1, "training": {"options": {"loss_weights": [1]}}}, "exclude each other"),
        ("dpo", {"pairs": {"each": 0}}, "pairs.each"),
        ("kto", {"pairs": {"each": 1}}, "pairs"),
        ("orpo", {"feedback": {"margin": 2}}, "feedback.margin"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, kind: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        recipe_of(kind, tmp_path, **fields)


@pytest.mark.parametrize("kind", RECIPES)
def test_trainers_see_prompt_answer_and_end(tmp_path: Path, kind: str) -> None:
    job = Job(recipe=recipe_of(kind, tmp_path), rows=rows_of(kind) * 8)
    tokenizer = job.tokenizer
    prompt = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, return_dict=False)

    def ended(text: str) -> list[int]:
        return [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]

    trainer = job.recipe.trainer(job)
    if kind == "dpo":
        row = trainer.train_dataset[0]
        assert (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) == (
            prompt,
            ended(GOOD),
            ended(BAD),
        )
    elif kind == "kto":
        seen = {
            (tuple(r["prompt_ids"]), tuple(r["completion_ids"]), r["label"]) for r in trainer.train_dataset
        }
        expected = {(tuple(prompt), tuple(ended(GOOD)), True), (tuple(prompt), tuple(ended(BAD)), False)}
        assert seen == expected
    else:
        row = trainer.train_dataset[0]
        for side, text in (("chosen", GOOD), ("rejected", BAD)):
            assert row[f"{side}_input_ids"] == prompt + ended(text)
            assert row[f"{side}_labels"] == [-100] * len(prompt) + ended(text)


@pytest.mark.parametrize("kind", ["simpo", "orpo"])
def test_long_rows_are_not_cut_at_512(tmp_path: Path, kind: str) -> None:
    long = [row | {"chosen": answer("Lea has 3.\n" * 130)} for row in rows_of(kind) * 8]
    trainer = (job := Job(recipe=recipe_of(kind, tmp_path), rows=long)).recipe.trainer(job)
    assert 512 < len(trainer.train_dataset[0]["chosen_input_ids"]) <= 1024


def test_the_weight_of_demonstrations_is_one_more_loss(tmp_path: Path) -> None:
    training = TRAINING | {"options": {"loss_type": "ipo", "beta": 0.3}}
    recipe = recipe_of("dpo", tmp_path, sft_weight=0.2, training=training)
    args = recipe.trainer(Job(recipe=recipe, rows=rows_of("dpo") * 8)).args
    assert (args.loss_type, args.loss_weights, args.beta) == (["ipo", "sft"], [1.0, 0.2], 0.3)


def test_kto_takes_its_kl_from_answers_to_other_prompts(tmp_path: Path) -> None:
    job = Job(recipe=recipe_of("kto", tmp_path), rows=rows_of("kto", 32))
    rows = job.recipe.trainer(job).train_dataset
    same = sum(a == b for a, b in zip(rows["prompt_ids"][:-1], rows["prompt_ids"][1:], strict=True))
    assert same <= 6  # 32 of 63 if pairs stayed together


def test_orpo_learns_no_questions(tmp_path: Path) -> None:
    job = Job(recipe=recipe_of("orpo", tmp_path), rows=rows_of("orpo") * 8)
    trainer = job.recipe.trainer(job)
    row = trainer.train_dataset[0]
    ids, labels = (torch.tensor([row[f"chosen_{name}"]]) for name in ("input_ids", "labels"))
    with torch.no_grad():
        expected = job.model(input_ids=ids, labels=labels).loss
        loss = trainer.concatenated_forward(job.model, trainer.data_collator([row, row]))[4]
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_margins_rise(tmp_path: Path, kind: str) -> None:
    job = Job(recipe=recipe_of(kind, tmp_path), rows=rows_of(kind, 32))
    trainer = job.recipe.trainer(job)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert log[-1]["loss"] < log[0]["loss"]
    if kind != "orpo":  # its pairs are told apart from the start: likelihood is what is left to learn
        assert log[-1]["rewards/margins"] > log[0]["rewards/margins"] + 0.1


def dialogues(pairs: Sequence[tuple[str, str]]) -> list[Any]:
    return [verdicts.ask([{"role": "user", "content": asked}], told, CHECK) for asked, told in pairs]


def test_verdicts_do_not_depend_on_their_batch() -> None:
    asked = dialogues([("Uma has 2.", "2"), (PROMPT[0]["content"], GOOD), (PROMPT[0]["content"], BAD)])
    together = verdicts.probabilities(asked, model=POLICY)
    alone = [verdicts.probabilities([a], model=POLICY)[0] for a in asked]
    assert together == pytest.approx(alone, abs=0.02)
    swapped = verdicts.probabilities(asked, model=POLICY, good="No", bad="Yes")
    assert swapped == pytest.approx([1 - p for p in together], abs=1e-5)


def test_the_policy_approves_of_solutions_and_not_of_guesses() -> None:
    source = ProblemSource.model_validate({"generate": {"seed": 78, "count": 24, "max_steps": 4}})
    rollouts = [
        Rollout(
            problem=p.id,
            prompt=p.prompt,
            samples=[
                sampled("\n".join(p.steps or ()), True),
                sampled("The answer is \\boxed{999}.", False),
            ],
        )
        for p in load(source)
    ]
    scored = verdicts.score(rollouts, model=POLICY, question=CHECK, good="Yes", bad="No")
    for row in scored:
        solution, guess = (sample.score for sample in row.samples)
        assert solution is not None
        assert guess is not None
        assert guess < 0.5 < solution


@pytest.mark.parametrize(
    ("good", "bad", "length", "said"),
    [("Yes", "Yes", 1, "no token tells"), ("Yes", "No", 3000, "reads 1024 tokens; a dialogue to judge has")],
)
def test_what_cannot_be_judged_is_said(good: str, bad: str, length: int, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        verdicts.probabilities(dialogues([("Lea", " Lea has" * length)]), model=POLICY, good=good, bad=bad)


def test_the_question_is_the_last_turn() -> None:
    turns = verdicts.ask([{"role": "user", "content": "1 + 1?"}], "2", "Sure?")
    assert [Message.model_validate(t).role for t in turns] == ["user", "assistant", "user"]
    rendered = AutoTokenizer.from_pretrained(POLICY).apply_chat_template(turns, tokenize=False)
    assert rendered == "<bos>1 + 1?\n2<eos>Sure?\n"
