"""The section `guards` of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.training.data.problems import ProblemSource


class _Guard(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(20, ge=1, description="Updates between two measurements.")
    max_tokens: int = Field(256, ge=1, description="Tokens of an answer.")


class Hacking(_Guard):
    """Stop when the optimised reward rises while true accuracy falls (Gao et al. 2022, arXiv:2210.10760).

    Both are measured on greedy answers to the same held-out problems; `decide.parted` is the rule.
    """

    problems: ProblemSource = Field(description="About 100, with answers; in no training data.")
    window: int = Field(2, ge=1, description="Measurements in a row that must show it.")
    margin: float = Field(0.05, ge=0, lt=1, description="How far accuracy may stay below its best.")
    noise: float = Field(2.0, ge=0, description="Standard errors by which the reward must have risen.")


class Forgetting(_Guard):
    """Stop when accuracy on an earlier task falls by more than `max_drop` from what it was at the start."""

    tasks: dict[Annotated[str, Field(min_length=1)], ProblemSource] = Field(
        min_length=1, description="Problems with answers, by name of the task."
    )
    max_drop: float = Field(0.05, ge=0, lt=1)


class Guards(BaseModel):
    """What stops training early. The weights from before it went wrong are the result then."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hacking: Hacking | None = None
    forgetting: Forgetting | None = None

    @model_validator(mode="after")
    def _some(self) -> Guards:
        if self.hacking is None and self.forgetting is None:
            raise ValueError("give `hacking`, `forgetting` or both")
        return self
