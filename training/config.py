"""A recipe from its YAML file, with what the command line changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from mull.errors import one_of
from mull.training.errors import TrainingError
from mull.training.recipes.base import Recipe
from mull.training.recipes.difficulty import Difficulty
from mull.training.recipes.distillation import Distill, DistillLogits
from mull.training.recipes.generative import GenerativeVerifier
from mull.training.recipes.iterate import Iterate
from mull.training.recipes.outcome import Orm, OrmPairs
from mull.training.recipes.preference import Dpo, Kto, Orpo, SimPo
from mull.training.recipes.process import Prm
from mull.training.recipes.reinforce import Grpo, Rloo
from mull.training.recipes.sft import RejectionSampling, Sft, Star

AnyRecipe = Annotated[
    Sft
    | RejectionSampling
    | Star
    | Distill
    | DistillLogits
    | Dpo
    | Kto
    | SimPo
    | Orpo
    | Grpo
    | Rloo
    | Orm
    | OrmPairs
    | Prm
    | GenerativeVerifier
    | Difficulty
    | Iterate,
    Field(discriminator="recipe"),
]
"""Every recipe; `recipe` tells which fields it has."""

_ADAPTER: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)


def load(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a file.

    Args:
        path: YAML.
        changes: `field.field=value`, each value as YAML would read it.

    Raises:
        TrainingError: the file cannot be read or is not valid; the message names the field.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    except yaml.YAMLError as error:
        raise TrainingError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise TrainingError(f"{path}: a recipe is a mapping with recipe, model, output and more")
    for change in changes:
        _change(raw, change)
    return parse(raw, str(path))


def parse(raw: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain data.

    Raises:
        TrainingError: it is not valid; the message names the field and what is allowed.
    """
    try:
        return _ADAPTER.validate_python(raw)
    except ValidationError as error:
        faults = "; ".join(_fault(fault) for fault in error.errors(include_url=False))
        raise TrainingError(f"{where}: {faults}", param=_field(error.errors()[0]["loc"])) from None


def _change(raw: dict[str, Any], change: str) -> None:
    name, equals, value = change.partition("=")
    if not equals or not name:
        raise TrainingError(f"--set {change}: write it as field=value", param="set")
    *sections, field = name.split(".")
    for section in sections:
        inner = raw.setdefault(section, {})
        if not isinstance(inner, dict):
            raise TrainingError(f"--set {change}: {section} is not a section", param="set")
        raw = inner
    raw[field] = yaml.safe_load(value)


def _fault(fault: Any) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"].startswith("union_tag"):
        where = ".".join([*_field(fault["loc"]).split(), fault["ctx"]["discriminator"].strip("'")])
        if fault["type"] == "union_tag_not_found":
            return f"{where} is missing"
        known = one_of(tag.strip("' ") for tag in fault["ctx"]["expected_tags"].split(","))
        return f"{where}: there is none called {fault['ctx']['tag']!r}; there are {known}"
    return ": ".join(part for part in (_field(fault["loc"]), message) if part)


def _field(location: Sequence[int | str]) -> str:
    """Dotted name of a field, without the tag that stands before it in a union."""
    return ".".join(str(part) for part in location[1:])
