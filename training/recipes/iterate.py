"""Rounds of sampling, judging and learning, each with the policy of the last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mull.errors import one_of
from mull.training.data.problems import ProblemSource
from mull.training.errors import TrainingError
from mull.training.recipes.base import Kind, Recipe, Section
from mull.training.rollouts import Rollouts

if TYPE_CHECKING:
    from mull.training.job import Job

GIVEN = ("model", "output", "seed", "problems", "data", "rollouts", "evaluation")
"""Fields of the recipes of a round that the round fills in."""

VERIFIERS = ("orm", "prm")
"""Recipes of models whose scores are probabilities."""


class HeldOut(Section):
    """Problems that tell when to stop: neither those of training nor those of `evaluation`."""

    problems: ProblemSource
    max_drop: float = Field(0.02, ge=0, lt=1, description="Largest fall of accuracy below its best.")
    max_tokens: int = Field(256, ge=1)


class Iterate(Recipe):
    """Improves a policy in rounds, with a verifier that is trained anew on each round's samples.

    A round takes its share of the problems, samples them with the current policy, trains `verifier` on one
    part of the samples, lets it judge the other part, and runs `improve` on these. Without a verifier the
    reference answers judge all. So in ReST (Gulcehre et al. 2023, arXiv:2308.08998); with `start: base` each
    round trains the first model anew, as in ReST-EM (Singh et al. 2023, arXiv:2312.06585). It ends early when
    greedy accuracy on held-out problems falls; the result is the policy of the best round.
    """

    recipe: Literal["iterate"] = "iterate"
    rounds: int = Field(3, ge=1)
    start: Literal["last", "base"] = Field("last", description="The model that `improve` trains.")
    improve: dict[str, Any] = Field(description="A recipe that learns from samples; DPO, say.")
    verifier: dict[str, Any] | None = Field(None, description="A recipe of an ORM or PRM, with its `model`.")
    labelled: float = Field(0.5, gt=0, lt=1, description="Share of the problems that trains the verifier.")
    threshold: float = Field(0.5, ge=0, le=1, description="Score above which a sample counts as right.")
    margin: float = Field(0.2, ge=0, le=1, description="Width around it in which one counts as nothing.")
    held_out: HeldOut

    kind: ClassVar[Kind] = "sft"
    needs_rollouts: ClassVar[bool] = True

    @model_validator(mode="after")
    def _whole(self) -> Iterate:
        for name in ("data", "training", "peft", "guards"):
            if name in self.model_fields_set:
                raise ValueError(f"`{name}` belongs into `improve` or `verifier`")
        if self.rollouts is not None and self.rollouts.file is not None:
            raise ValueError("rollouts.file: each round draws its own samples")
        nowhere = Path("round")
        improving = self.improving("policy", nowhere, nowhere, nowhere, 1)
        if not improving.needs_rollouts:
            raise ValueError(f"improve: {improving.recipe} does not learn from samples")
        if self.verifier is not None:
            self.verifying("policy", nowhere, nowhere, nowhere, 1)
            if improving.reads_answers:
                raise ValueError(
                    "improve: hints of `star` and `steps` of `dpo` need the answers that `verifier` "
                    "stands in for; leave out `verifier`, or these"
                )
        return self

    def improving(self, model: str, problems: Path, samples: Path, output: Path, seed: int) -> Recipe:
        """The recipe that trains the policy.

        Args:
            model: What is trained.
            problems: File of problems.
            samples: File of rollouts of them.
            output: Its folder.
            seed: Its seed.

        Raises:
            TrainingError: `improve` is no valid recipe.
        """
        return self._inner("improve", self.improve, {"model": model}, problems, samples, output, seed)

    def verifying(self, policy: str, problems: Path, samples: Path, output: Path, seed: int) -> Recipe:
        """The recipe that trains the verifier, always from its own `model`.

        Args:
            policy: What sampled.
            problems: File of problems.
            samples: File of rollouts of them.
            output: Its folder.
            seed: Its seed.

        Raises:
            TrainingError: `verifier` is no valid recipe of an ORM or PRM.
        """
        given = dict(self.verifier or {})
        if given.get("recipe") not in VERIFIERS:
            raise TrainingError(
                f"verifier.recipe: {given.get('recipe')!r} is none of {one_of(VERIFIERS)}",
                param="verifier.recipe",
            )
        if "model" not in given:
            raise TrainingError("verifier.model is missing", param="verifier.model")
        own = {"model": given.pop("model"), "policy": policy}
        return self._inner("verifier", given, own, problems, samples, output, seed)

    def _inner(
        self,
        section: str,
        given: Mapping[str, Any],
        own: Mapping[str, Any],
        problems: Path,
        samples: Path,
        output: Path,
        seed: int,
    ) -> Recipe:
        from mull.training.config import parse

        for name in GIVEN:
            if name in given:
                raise TrainingError(f"{section}.{name}: the rounds fill this in", param=f"{section}.{name}")
        rollouts = (self.rollouts or Rollouts()).model_dump() | {"file": samples}
        facts = {"output": output, "seed": seed, "problems": {"file": problems}, "rollouts": rollouts}
        return parse({**given, **own, **facts}, section)

    def figures(self, job: Job, model: Path) -> dict[str, Any]:
        """What was measured in each round."""
        path = self.output / "rounds.json"
        return {"rounds": json.loads(path.read_text(encoding="utf-8"))["rounds"]} if path.exists() else {}
