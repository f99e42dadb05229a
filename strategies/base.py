"""What all strategies have in common: being a validated, immutable set of parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from mull.run import Run
from mull.types import Answer, Task, VerifierKind

T = TypeVar("T")


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Many = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""A parameter that is a list in JSON."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What must be there for a strategy to run."""

    verifier: VerifierKind | None = None
    """Which kind of verifier; where `outcome` is enough, a process verifier serves as well."""
    continues: bool = False
    """An engine that continues a partial answer."""
    ends: bool = False
    """An engine that tells which tokens end an answer."""
    retriever: bool = False
    """A retriever."""
    difficulty: bool = False
    """A verifier of kind `difficulty`, beside that of the answers."""

    def __or__(self, other: Needs) -> Needs:
        """What both together need."""
        kinds = {self.verifier, other.verifier}
        return Needs(
            verifier="process" if "process" in kinds else "outcome" if "outcome" in kinds else None,
            continues=self.continues or other.continues,
            ends=self.ends or other.ends,
            retriever=self.retriever or other.retriever,
            difficulty=self.difficulty or other.difficulty,
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a strategy spends at most."""

    generations: int
    """Samples and steps drawn from the engine."""
    scores: int = 0
    """Candidates, whole or partial, that a verifier scores."""

    def __add__(self, other: Cost) -> Cost:
        """The cost of both."""
        return Cost(generations=self.generations + other.generations, scores=self.scores + other.scores)

    def __mul__(self, times: int) -> Cost:
        """The cost of doing it so many times."""
        return Cost(generations=times * self.generations, scores=times * self.scores)

    def __or__(self, other: Cost) -> Cost:
        """The cost of either, whichever it will be."""
        return Cost(
            generations=max(self.generations, other.generations), scores=max(self.scores, other.scores)
        )


class StrategyModel(BaseModel, ABC):
    """Base of our strategies: the fields are the request's parameters, the JSON Schema comes with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: ClassVar[VerifierKind | None] = None
    """Which kind of verifier it needs; where `outcome` is enough, a process verifier serves as well."""
    continues: ClassVar[bool] = False
    """Whether it needs an engine that continues a partial answer."""
    source: ClassVar[str] = ""
    """What it follows: the paper's authors, year, title and address."""
    cost_model: ClassVar[str] = ""
    """Expected generations and scores, in terms of the parameters."""

    @property
    def needs(self) -> Needs:
        """What it needs with these parameters."""
        return Needs(verifier=self.scores, continues=self.continues)

    def cost(self) -> Cost | None:
        """What it spends at most with these parameters; None when it does not say."""
        return None

    @abstractmethod
    async def __call__(self, task: Task, run: Run) -> Answer:
        """Solve the task with what `run` allows.

        Raises:
            BudgetTooSmall: the budget did not allow a single token.
        """
