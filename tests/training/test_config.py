from pathlib import Path

import pytest
import yaml

from mull.training.config import load, parse
from mull.training.errors import TrainingError
from mull.training.recipes.reinforce import Grpo
from mull.training.recipes.sft import Sft

EXAMPLES = Path(__file__).resolve().parents[2] / "training" / "recipes" / "examples"
MINIMAL = {
    "recipe": "sft",
    "model": "models/policy",
    "output": "runs/x",
    "problems": {"generate": {"seed": 1, "count": 4}},
}


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_minimal_recipe_has_defaults(tmp_path: Path) -> None:
    recipe = load(write(tmp_path, MINIMAL))
    assert isinstance(recipe, Sft)
    assert (recipe.seed, recipe.training.batch, recipe.peft) == (1, 64, None)


def test_changes_reach_into_sections_and_make_them(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL | {"training": {"batch": 32}})
    changes = ["training.steps=3", "seed=7", "evaluation.problems.generate={seed: 2, count: 5}"]
    recipe = load(path, changes)
    assert (recipe.training.batch, recipe.training.steps, recipe.seed) == (32, 3, 7)
    assert recipe.evaluation is not None
    assert recipe.evaluation.problems.generate is not None
    assert recipe.evaluation.problems.generate.count == 5


@pytest.mark.parametrize("change", ["training.steps", "=3", "recipe.x=1"])
def test_a_change_that_cannot_be_made_is_named(tmp_path: Path, change: str) -> None:
    with pytest.raises(TrainingError, match="--set"):
        load(write(tmp_path, MINIMAL), [change])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("recipe", "sftt", r"recipe: recipe: there is none called 'sftt'; there are .*sft"),
        ("model", "", "model: "),
        ("nonsense", 1, "nonsense: "),
        ("training", {"batch": 10, "micro_batch": 4}, "training: micro_batch 4 does not divide batch 10"),
        ("training", {"learning_rate": 0}, "training.learning_rate: "),
        ("training", {"precision": "fp8"}, "training.precision: .*bf16"),
        ("problems", {}, "problems: problems come either from a file or from generate"),
        ("data", {"file": "rows.jsonl"}, "give either `problems`.* or `data`"),
        ("rollouts", {"ttc": {"strategy": "best_of_n"}}, "rollouts: ttc, .* only go with url"),
        ("peft", {"kind": "loraa"}, "peft.kind: there is none called 'loraa'; .*qlora"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        parse(MINIMAL | {field: value})


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(TrainingError, match=r"seed: .*training\.batch: "):
        parse(MINIMAL | {"seed": "x", "training": {"batch": 0}})


def test_without_a_recipe_it_says_so() -> None:
    with pytest.raises(TrainingError, match="recipe is missing"):
        parse({"model": "x"})


@pytest.mark.parametrize("content", ["a: [", "- 1", ""])
def test_what_is_no_recipe_at_all(tmp_path: Path, content: str) -> None:
    with pytest.raises(TrainingError, match=r"recipe\.yaml"):
        load(write(tmp_path, content))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_groups_divide_the_batch_of_reinforcement() -> None:
    raw = MINIMAL | {"recipe": "grpo", "group": 16, "training": {"batch": 24, "micro_batch": 8}}
    with pytest.raises(TrainingError, match=r"group 16 does not divide training\.batch 24"):
        parse(raw)
    assert isinstance(parse(raw | {"group": 8}), Grpo)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def test_examples_are_valid(path: Path) -> None:
    recipe = load(path)
    assert recipe.output == Path("runs") / path.stem
