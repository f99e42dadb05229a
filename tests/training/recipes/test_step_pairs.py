"""Pairs of steps: where an answer goes wrong, what is put in its place, and what of both is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from mull.training import rollouts as sampling
from mull.training.data.problems import ProblemSource, load
from mull.training.data.rows import Preference, Problem, Rollout, Sample
from mull.training.job import Job
from mull.training.recipes.preference import Dpo
from mull.training.recipes.step_pairs import Steps, ends_of_steps, step_pairs

POLICY = str(Path(__file__).resolve().parents[3] / "models" / "policy")
SOURCE = {"generate": {"seed": 77, "count": 12}}

EXACT = {"labels": {"how": "exact"}, "k": 4}


def job(tmp_path: Path, **fields: Any) -> Job:
    raw = {"recipe": "dpo", "model": POLICY, "output": tmp_path, "data": {"file": "rows.jsonl"}}
    training = {"steps": 6, "batch": 8, "micro_batch": 8, "learning_rate": 1e-4, "schedule": "constant"}
    return Job(recipe=Dpo.model_validate({**raw, "training": training, **fields}))


def solved(problem: Problem) -> list[str]:
    """The lines of the reference solution."""
    lines = problem.steps or []
    return [line + "\n" for line in lines[:-1]] + [lines[-1]]


def slip(problem: Problem, at: int) -> str:
    """A step of the reference solution with another result."""
    return solved(problem)[at].rstrip() + "0\n"


def failing(problems: Sequence[Problem], at: int) -> list[Rollout]:
    """One sample of each problem that is right up to a step, and wrong there."""
    return [
        Rollout(
            problem=p.id,
            prompt=p.prompt,
            answer=p.answer,
            samples=[
                Sample(
                    text="".join([*solved(p)[:at], slip(p, at), "The answer is \\boxed{7}."]),
                    finish="stop",
                    right=False,
                )
            ],
        )
        for p in problems
    ]


@pytest.fixture
def problems() -> list[Problem]:
    made = load(ProblemSource.model_validate(SOURCE))
    return [p for p in made if len(p.steps or []) > 3]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, problems: list[Problem]) -> list[Mapping[str, Any]]:
    """What is asked for; a continuation goes wrong, one repeats the wrong step, and two solve the problem."""
    seen: list[Mapping[str, Any]] = []
    by_question = {p.prompt[-1].content: p for p in problems}

    def draw(requests: Sequence[Mapping[str, Any]], *_: Any, rollouts: Any, **__: Any) -> list[list[Sample]]:
        assert rollouts.n == 4
        seen.extend(requests)
        found = []
        for request in requests:
            problem = by_question[request["prompt"][-1]["content"]]
            rest = "".join(solved(problem))[len(request["prefix"]) :]
            repeated = slip(problem, request["prefix"].count("\n")) + rest
            texts = ["The answer is \\boxed{1234}.", repeated, "Well:\n" + rest, rest]
            found.append([Sample(text=text, finish="stop") for text in texts])
        return found

    monkeypatch.setattr(sampling, "draw", draw)
    return seen


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_wrong_step_is_put_against_a_right_one(
    tmp_path: Path, problems: list[Problem], asked: list[Mapping[str, Any]], at: int
) -> None:
    how = Steps.model_validate(EXACT)
    rows = step_pairs(job(tmp_path), problems, failing(problems, at), how, each=1)
    assert len(rows) == len(problems)
    for row, problem in zip(rows, problems, strict=True):
        Preference.model_validate(row.model_dump(exclude_none=True))
        assert row.chosen[0].content == "".join(solved(problem))
        assert row.rejected[0].content.startswith("".join(solved(problem)[:at]) + slip(problem, at))
        assert row.source is not None
        assert row.source["step"] == at
    assert [request["prefix"] for request in asked] == ["".join(solved(p)[:at]) for p in problems]


@pytest.mark.usefixtures("asked")
def test_right_samples_and_those_beyond_each_make_no_pairs(tmp_path: Path, problems: list[Problem]) -> None:
    rollouts = failing(problems, 1)
    right = Sample(text="".join(solved(problems[0])), finish="stop", right=True)
    rollouts[0] = rollouts[0].model_copy(update={"samples": [right]})
    more = [
        *rollouts[1].samples,
        *failing(problems[1:2], 0)[0].samples,
        *failing(problems[1:2], 2)[0].samples,
    ]
    rollouts[1] = rollouts[1].model_copy(update={"samples": more})
    rows = step_pairs(job(tmp_path), problems, rollouts, Steps.model_validate(EXACT), each=2)
    assert [row.problem for row in rows].count(problems[0].id) == 0
    assert [row.problem for row in rows].count(problems[1].id) == 2


def test_without_a_right_continuation_there_is_no_pair(
    tmp_path: Path, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    hopeless = [Sample(text="The answer is \\boxed{1234}.", finish="stop")]
    monkeypatch.setattr(sampling, "draw", lambda requests, *_, **__: [hopeless for _ in requests])
    assert (
        step_pairs(job(tmp_path), problems, failing(problems, 1), Steps.model_validate(EXACT), each=1) == []
    )


def test_only_the_two_steps_are_learned(tmp_path: Path) -> None:
    first, second, rest = (
        "Lea has 3 more than Uma 2 = 5\n",
        "Ada has twice as many as Lea 5 = 10\n",
        "The answer is \\boxed{10}.",
    )
    other = "Ada has twice as many as Lea 5 = 12\n"
    row = {
        "prompt": [
            {"role": "user", "content": "Lea has 3 more than Uma. Uma has 2. Ada has twice as many as Lea."}
        ],
        "chosen": [{"role": "assistant", "content": first + second + rest}],
        "rejected": [{"role": "assistant", "content": first + other + "The answer is \\boxed{12}."}],
    }
    made = job(tmp_path, steps=EXACT)
    made.rows = [row] * 8
    learned = made.recipe.trainer(made).train_dataset[0]
    assert made.tokenizer.decode(learned["chosen_ids"]) == first + second
    assert made.tokenizer.decode(learned["rejected_ids"]) == first + other


def test_answers_that_end_in_the_step_keep_their_end(tmp_path: Path) -> None:
    tokenizer = job(tmp_path).tokenizer
    ids = [
        [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        for text in ("The answer is \\boxed{5}.", "The answer is \\boxed{6}.")
    ]
    assert ends_of_steps(tokenizer, ids[0], ids[1], "\n") == (len(ids[0]), len(ids[1]))
    assert ends_of_steps(tokenizer, ids[0], ids[0], "\n") == (len(ids[0]), len(ids[0]))


@pytest.mark.slow
def test_the_margin_of_the_steps_rises(tmp_path: Path, problems: list[Problem]) -> None:
    rows = [
        {
            "prompt": [m.model_dump() for m in p.prompt],
            "chosen": [{"role": "assistant", "content": "".join(solved(p))}],
            "rejected": [
                {"role": "assistant", "content": "".join([*solved(p)[:1], slip(p, 1), "The answer is 7."])}
            ],
        }
        for p in problems
    ]
    made = job(tmp_path, steps=EXACT)
    made.rows = rows * 4
    trainer = made.recipe.trainer(made)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["rewards/margins"] > log[0]["rewards/margins"] + 0.1


@pytest.mark.parametrize("fields", [{"feedback": {"margin": 0.4}}, {"pairs": {"choose": "prefix"}}])
def test_steps_say_themselves_what_is_paired(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"steps and .* exclude each other"):
        job(tmp_path, steps=EXACT, **fields)
