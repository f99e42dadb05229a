"""What all strategies have in common: being a validated, immutable set of parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from mull.run import Run
from mull.types import Answer, Task, VerifierKind


class StrategyModel(BaseModel, ABC):
    """Base of our strategies: the fields are the request's parameters, the JSON Schema comes with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: ClassVar[VerifierKind | None] = None
    """Which kind of verifier it needs; where `outcome` is enough, a process verifier serves as well."""
    continues: ClassVar[bool] = False
    """Whether it needs an engine that continues a partial answer."""

    @abstractmethod
    async def __call__(self, task: Task, run: Run) -> Answer:
        """Solve the task with what `run` allows.

        Raises:
            InvalidRequest: the budget did not allow a single token.
        """
