"""The section `labels` of a process reward model's recipe: where the labels of steps come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mull.training.recipes.base import Section


class Exact(Section):
    """Labels of the checker of the bundled task, which knows the graph behind each problem."""

    how: Literal["exact"] = "exact"


class Continued(Section):
    """Labels by what becomes of a prefix of an answer."""

    k: int = Field(8, ge=1, description="Continuations of each prefix.")
    completer: str | None = Field(
        None, description="Model that goes on, a stronger one perhaps; `policy` by default."
    )
    temperature: float | None = Field(
        None, ge=0, description="Of the continuations; that of `rollouts` by default."
    )


class MonteCarlo(Continued):
    """Math-Shepherd (Wang et al. 2023, arXiv:2312.08935): continue every prefix."""

    how: Literal["monte_carlo"] = "monte_carlo"
    soft: bool = Field(
        True, description="Label with the share of right continuations, not with whether there is one."
    )


class BinarySearch(Continued):
    """OmegaPRM (Luo et al. 2024, arXiv:2406.06592): halve for the first error of each wrong answer."""

    how: Literal["binary_search"] = "binary_search"


Labels = Annotated[Exact | MonteCarlo | BinarySearch, Field(discriminator="how")]
