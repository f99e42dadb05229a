"""What docs/training.md and its pages say of recipes is true of them."""

import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import typer
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.core import TyperGroup

from mull.training.cli import data_app
from mull.training.config import AnyRecipe, parse
from mull.training.recipes.adapters import Adapter
from mull.training.recipes.base import Recipe
from mull.training.rewards.config import Reward

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "training" / "recipes" / "examples"
PAGES = [ROOT / "docs" / "training.md", *sorted((ROOT / "docs" / "training").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
RECIPES: list[type[Recipe]] = list(get_args(get_args(AnyRecipe)[0]))


def merged(base: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with the parts of another put in; of a choice by `kind` or `how` nothing is kept."""
    found = dict(base)
    for name, value in part.items():
        old = found.get(name)
        both = isinstance(old, dict) and isinstance(value, dict) and not value.keys() & {"kind", "how"}
        found[name] = merged(old, value) if both and isinstance(old, dict) else value
    return found


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
def test_every_recipe_in_the_docs_is_valid(block: str) -> None:
    raw = yaml.safe_load(block)
    if part := re.match(r"# part of ([\w-]+)\n", block):
        raw = merged(yaml.safe_load((EXAMPLES / f"{part[1]}.yaml").read_text(encoding="utf-8")), raw)
    parse(raw)


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType):
        for choice in get_args(annotation):
            yield from models(choice)


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field with its default, those of sections as `section.field`."""
    for name, field in model.model_fields.items():
        yield prefix + name, field.get_default(call_default_factory=True, validated_data={})
        for inner in models(field.annotation):
            yield from fields(inner, f"{prefix}{name}.")


KNOWN: dict[str, list[Any]] = {}
for recipe in RECIPES:
    for path, default in fields(recipe):
        KNOWN.setdefault(path, []).append(default)


def rows() -> list[tuple[str, ...]]:
    """The rows of all tables of fields: names, default, meaning."""
    tables = re.findall(r"^\| field \| default \| \|\n\| --- .*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_field_in_the_tables_exists_and_has_that_default(row: tuple[str, ...]) -> None:
    names = re.findall(r"`([^`]+)`", row[0])
    assert names
    for name in names:
        assert name in KNOWN
    if row[1]:
        assert yaml.safe_load(row[1]) in [_plain(default) for default in KNOWN[names[0]]]


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def test_every_field_of_a_recipe_is_in_a_table() -> None:
    told = {name for row in rows() for name in re.findall(r"`([^`]+)`", row[0])}
    sections = {name.rpartition(".")[0] for name in told}
    inner = (
        "problems.generate.",
        "evaluation.problems.",
        "held_out.problems.",
        "guards.",
        "peft.",
        "rewards.",
        "steps.labels.",
    )
    missing = [
        path for path in KNOWN if path not in told and path not in sections and not path.startswith(inner)
    ]
    assert missing == []


@pytest.mark.parametrize(("union", "kind"), [(Adapter, "kind"), (Reward, "kind")])
def test_adapters_and_rewards_are_told_with_their_fields(union: Any, kind: str) -> None:
    for model in models(union):
        (name,) = get_args(model.model_fields[kind].annotation)
        lines = re.findall(rf"^\| `{name}` \|.*$", TEXT, re.MULTILINE)
        for field in model.model_fields.keys() - {kind, "weight"}:
            assert any(f"`{field}`" in line for line in lines), f"{name}: {field}"


def test_every_example_and_every_recipe_is_told() -> None:
    results = TEXT[TEXT.index("## Results") :]
    for example in EXAMPLES.glob("*.yaml"):
        assert f"`{example.stem}`" in results, example.stem
    for model in RECIPES:
        for name in get_args(model.model_fields["recipe"].annotation):
            assert f"`{name}`" in TEXT, name


def test_every_command_in_the_docs_exists() -> None:
    group = typer.main.get_command(data_app)
    assert isinstance(group, TyperGroup)
    assert set(re.findall(r"mull data ([a-z][a-z-]+)", TEXT)) == group.commands.keys()
    for path in re.findall(r"mull train (training/\S+\.yaml)", TEXT):
        assert (ROOT / path).exists(), path


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", text):
            other = (page.parent / target).resolve() if target else page
            assert other.exists(), (page.name, target)
            if anchor:
                headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, (
                    page.name,
                    target,
                    anchor,
                )


def test_a_default_that_is_told_wrongly_is_seen() -> None:
    assert PydanticUndefined in KNOWN["model"]
    assert KNOWN["rollouts.n"][0] == 16
    assert "rollouts.nonsense" not in KNOWN
