"""Rounds: what they hand on, when they end, which one wins, and that finished ones are not repeated."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

pytest.importorskip("trl")

from mull.training import rounds, scores
from mull.training.data.rows import Problem, Rollout, Sample, read, write
from mull.training.errors import TrainingError
from mull.training.guards.decide import fallen
from mull.training.measure import Case
from mull.training.recipes.base import Recipe
from mull.training.recipes.iterate import Iterate
from mull.training.recipes.process import Prm

Patch = pytest.MonkeyPatch
MODELS = Path(__file__).parents[3] / "models"


def _recipe(output: Path, **changes: Any) -> Iterate:
    return Iterate.model_validate(
        {
            "model": str(MODELS / "policy"),
            "output": output,
            "rounds": 3,
            "problems": {"generate": {"seed": 41, "count": 12}},
            "held_out": {"problems": {"generate": {"seed": 42, "count": 10}}, "max_drop": 0.05},
            "rollouts": {"n": 2},
            "improve": {"recipe": "rejection_sampling", "training": {"steps": 2}},
            **changes,
        }
    )


VERIFIER = {"verifier": {"recipe": "prm", "model": str(MODELS / "prm")}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"steps": 1}}, "`training` belongs into"),
        ({"rollouts": {"file": "x.jsonl"}}, "draws its own samples"),
        ({"improve": {"recipe": "sft"}}, "sft does not learn from samples"),
        ({"improve": {"recipe": "star"}, **VERIFIER}, "need the answers that `verifier` stands in for"),
        ({"improve": {"recipe": "dpo", "steps": {}}, **VERIFIER}, "need the answers"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _recipe(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"improve": {"recipe": "rejection_sampling", "seed": 3}}, r"improve\.seed: the rounds"),
        ({"improve": {"recipe": "rejection_sampling", "training": {"stps": 3}}}, "improve: .*stps"),
        ({"verifier": {"recipe": "prm"}}, r"verifier\.model is missing"),
        ({"verifier": {"recipe": "sft", "model": "x"}}, "'sft' is none of orm or prm"),
    ],
)
def test_wrong_inner_recipes_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        _recipe(tmp_path, **changes)


class World:
    """Stands in for sampling, training and measuring: round `n` yields a policy of the given accuracy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, accuracies: Sequence[float]) -> None:
        self.accuracies = list(accuracies)
        self.trained: list[Recipe] = []
        self.sampled: list[tuple[str, int, list[str]]] = []
        self.said: list[str] = []
        monkeypatch.setattr(rounds, "roll_out", self.roll_out)
        monkeypatch.setattr(rounds, "solve", self.solve)

    def play(self, recipe: Iterate) -> Path:
        done = recipe.output / "model"
        rounds.play(recipe, done, train=self.train, score=self.score, say=self.said.append)
        return done

    def roll_out(
        self, problems: Sequence[Problem], path: Path, *, model: str, seed: int, rollouts: Any
    ) -> list[Rollout]:
        self.sampled.append((model, seed, [p.id for p in problems]))
        samples = [
            Sample(text=t, finish="stop", tokens=3, right=r) for t, r in (("good", True), ("bad", False))
        ]
        found = [Rollout(problem=p.id, prompt=p.prompt, answer=p.answer, samples=samples) for p in problems]
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, found)
        return found

    def train(self, recipe: Recipe) -> Path:
        self.trained.append(recipe)
        folder = recipe.output / "model"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(str(folder))
        return folder

    def score(self, rollouts: Sequence[Rollout], policy: str, verifier: Recipe, model: Path) -> list[Rollout]:
        """Good samples score high, and so does the first bad one; about other bad ones it is undecided."""
        return [
            r.model_copy(
                update={
                    "samples": [
                        r.samples[0].model_copy(update={"score": 0.9}),
                        r.samples[1].model_copy(update={"score": 0.9 if n == 0 else 0.45}),
                    ]
                }
            )
            for n, r in enumerate(rollouts)
        ]

    def solve(self, model: str, evaluation: Any, folder: Path, name: str, seed: int) -> list[Case]:
        right = round(20 * self.accuracies[int(folder.name)])
        return [Case(n < right, (), ()) for n in range(20)]


def test_each_round_learns_its_share_with_the_last_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, [0.5, 0.6, 0.7, 0.8])
    done = world.play(_recipe(tmp_path))
    policies = [str(tmp_path / "rounds" / str(n) / "policy" / "model") for n in (1, 2, 3)]
    assert [model for model, _, _ in world.sampled] == [str(MODELS / "policy"), *policies[:2]]
    assert [r.model for r in world.trained] == [str(MODELS / "policy"), *policies[:2]]
    assert len({seed for _, seed, _ in world.sampled}) == 3
    problems = [p for _, _, ids in world.sampled for p in ids]
    assert len(problems) == len(set(problems)) == 12
    assert (done / "name").read_text() == policies[2]
    written = json.loads((tmp_path / "rounds.json").read_text())
    assert written["stopped"] is False
    assert [r["accuracy"]["value"] for r in written["rounds"]] == [0.5, 0.6, 0.7, 0.8]
    assert [r["right"] for r in written["rounds"]] == [None, 0.5, 0.5, 0.5]


def test_each_round_may_train_the_first_model_anew(tmp_path: Path, monkeypatch: Patch) -> None:
    world = World(monkeypatch, [0.5, 0.6, 0.7, 0.8])
    world.play(_recipe(tmp_path, start="base"))
    assert {r.model for r in world.trained} == {str(MODELS / "policy")}
    assert len({model for model, _, _ in world.sampled}) == 3


def test_ends_when_accuracy_falls_and_the_best_round_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, [0.5, 0.7, 0.6, 0.9])
    done = world.play(_recipe(tmp_path))
    assert len(world.trained) == 2
    assert (done / "name").read_text() == str(tmp_path / "rounds" / "1" / "policy" / "model")
    assert json.loads((tmp_path / "rounds.json").read_text())["stopped"] is True
    assert world.said[-1] == "round 1 is the best"


def test_where_nothing_helps_the_first_policy_stays(tmp_path: Path, monkeypatch: Patch) -> None:
    done = World(monkeypatch, [0.5, 0.4]).play(_recipe(tmp_path))
    assert (done / "config.json").read_bytes() == (MODELS / "policy" / "config.json").read_bytes()


def test_finished_rounds_are_not_repeated(tmp_path: Path, monkeypatch: Patch) -> None:
    class Killed(Exception):
        pass

    recipe = _recipe(tmp_path)
    first = World(monkeypatch, [0.5, 0.6, 0.7, 0.8])

    def die(inner: Recipe) -> Path:
        if len(first.trained) == 1:
            raise Killed
        return first.train(inner)

    with pytest.raises(Killed):
        rounds.play(recipe, tmp_path / "model", train=die, score=first.score, say=first.said.append)
    again = World(monkeypatch, [0.5, 0.6, 0.7, 0.8])
    again.play(recipe)
    again.play(recipe)
    assert [r.output.parent.name for r in again.trained] == ["2", "3"]
    unbroken = tmp_path / "unbroken"
    World(monkeypatch, [0.5, 0.6, 0.7, 0.8]).play(_recipe(unbroken))
    found, expected = ((p / "rounds.json").read_text() for p in (tmp_path, unbroken))
    assert found == expected.replace(str(unbroken), str(tmp_path))


def test_the_verifier_judges_what_it_was_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, [0.5, 0.6])
    recipe = _recipe(tmp_path, rounds=1, **VERIFIER)
    world.play(recipe)
    teacher, student = world.trained
    assert (teacher.recipe, student.recipe) == ("prm", "rejection_sampling")
    assert (teacher.model, student.model) == (str(MODELS / "prm"), str(MODELS / "policy"))
    assert isinstance(teacher, Prm)
    assert teacher.policy == str(MODELS / "policy")
    folder = tmp_path / "rounds" / "1"
    labelled, learned = (
        {p.id for p in read(folder / f"{n}.jsonl", Problem)} for n in ("labelled", "learned")
    )
    assert labelled
    assert learned
    assert not labelled & learned
    assert len(labelled | learned) == 12
    judged = read(folder / "judged.jsonl", Rollout)
    assert {r.problem for r in judged} == learned
    # What counts as right is the verifier's word, not the reference's; what it is unsure of is neither.
    said = [[s.right for s in r.samples] for r in judged]
    assert said == [[True, True]] + [[True, None]] * (len(judged) - 1)
    round_1 = json.loads((tmp_path / "rounds.json").read_text())["rounds"][1]
    assert round_1["chosen"] == len(judged) + 1
    assert round_1["chosen_right"] == pytest.approx(len(judged) / (len(judged) + 1))
    assert round_1["right"] == 0.5


def test_too_few_problems_are_an_error(tmp_path: Path, monkeypatch: Patch) -> None:
    recipe = _recipe(tmp_path, problems={"generate": {"seed": 1, "count": 2}})
    with pytest.raises(TrainingError, match="too few for 3 rounds"):
        World(monkeypatch, [0.5]).play(recipe)


@pytest.mark.parametrize("section", ["held_out", "evaluation"])
def test_held_out_problems_are_not_trained_on(tmp_path: Path, monkeypatch: Patch, section: str) -> None:
    same = {"problems": {"generate": {"seed": 41, "count": 1, "start": 5}}}
    with pytest.raises(TrainingError, match="evaluation problem"):
        World(monkeypatch, [0.5]).play(_recipe(tmp_path, **{section: same}))


def test_a_fall_is_from_the_best() -> None:
    assert fallen([0.5, 0.7, 0.66], max_drop=0.03)
    assert not fallen([0.5, 0.7, 0.66], max_drop=0.04)
    assert not fallen([0.5], max_drop=0.0)


def test_scores_prefer_right_samples(tmp_path: Path) -> None:
    from mull.training.bundled.problems import generate, to_row

    rollouts = []
    for row in map(to_row, generate(43, 8, max_steps=5)):
        right = "\n".join(row["steps"])
        wrong = right.translate(str.maketrans("12345678", "23456781"))
        samples = [Sample(text=t, finish="stop", tokens=9, right=t == right) for t in (right, wrong)]
        problem = Problem.model_validate(row)
        rollouts.append(Rollout(problem=problem.id, prompt=problem.prompt, samples=samples))
    verifier = _recipe(tmp_path, **VERIFIER).verifying("x", tmp_path, tmp_path, tmp_path, 1)
    found = scores.score(rollouts, str(MODELS / "policy"), verifier, MODELS / "prm")
    pairs = [[s.score or 0.0 for s in r.samples] for r in found]
    assert sum(a > b for a, b in pairs) >= 6
    assert [r.samples[0].right for r in found] == [True] * 8


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "improve",
    [{"recipe": "rejection_sampling"}, {"recipe": "dpo", "steps": {"labels": {"how": "exact"}, "k": 4}}],
    ids=["expert iteration", "pairs of steps"],
)
def test_a_round_from_answers(tmp_path: Path, improve: dict[str, Any]) -> None:
    from mull.training import runner

    recipe = _recipe(
        tmp_path,
        rounds=1,
        problems={"generate": {"seed": 44, "count": 32}},
        rollouts={"n": 4, "max_tokens": 120},
        improve=improve | {"training": {"steps": 2, "batch": 16, "micro_batch": 16, "learning_rate": 1e-5}},
    )
    rounds.play(recipe, tmp_path / "model", train=runner.run, score=scores.score)
    written = json.loads((tmp_path / "rounds.json").read_text())["rounds"]
    assert written[1]["chosen_right"] == 1
    assert 0 < written[1]["right"] < 1
    assert (tmp_path / "model" / "config.json").exists()
