"""A strategy inside another one, with a part of the budget if it is given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mull.budget import Budget, Limits
from mull.errors import one_of
from mull.run import Run
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.types import Answer, Candidate, Task


class Share(BaseModel):
    """What an inner strategy may spend at most, besides what the request as a whole may."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int | None = Field(None, ge=1, description="Generated tokens.")
    seconds: float | None = Field(None, gt=0, description="Wall-clock time.")
    samples: int | None = Field(None, ge=1, description="Generations started.")
    share: float | None = Field(
        None, gt=0, le=1, description="Share of what is left of each of the request's limits."
    )

    def limits(self, budget: Budget) -> Limits:
        """The limits under what is left of a budget now."""

        def part(left: float | None) -> float | None:
            return None if left is None or self.share is None else left * self.share

        tokens, samples = part(budget.tokens_left), part(budget.samples_left)
        return Limits(
            tokens=_least(self.tokens, None if tokens is None else max(1, int(tokens))),
            seconds=_least(self.seconds, part(budget.seconds_left)),
            samples=_least(self.samples, None if samples is None else max(1, int(samples))),
        )


class Inner(BaseModel):
    """`{"strategy": "best_of_n", "n": 4, "budget": {"share": 0.5}}`: a strategy as a parameter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    does: SerializeAsAny[StrategyModel]
    budget: Share | None = None

    @classmethod
    def of(cls, strategy: StrategyModel, budget: Share | None = None) -> Inner:
        """The strategy as a parameter of another one."""
        return cls.model_construct(does=strategy, budget=budget)

    @property
    def needs(self) -> Needs:
        """What the strategy needs."""
        return self.does.needs

    def cost(self) -> Cost:
        """What the strategy spends at most; nothing when it does not say."""
        return self.does.cost() or Cost(generations=0)

    async def solve(
        self,
        run: Run,
        *,
        task: Task | None = None,
        model: str | None = None,
        drawn: Sequence[Candidate] = (),
        under: int | None = None,
        commits: bool = False,
    ) -> Answer:
        """Solve the run's task, or another one; the arguments are those of `Run.child`.

        Raises:
            BudgetTooSmall: its part of the budget did not allow a single token.
        """
        asked = task or run.task
        # An inner strategy returns all that it has; only the outer one knows how many were asked for.
        limits = None if self.budget is None else self.budget.limits(run.budget)
        child = run.child(
            task=asked if commits else replace(asked, n=1),
            model=model,
            limits=limits,
            drawn=drawn,
            under=under,
            commits=commits,
        )
        return await self.does(child.task, child)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        from mull.strategies.registry import STRATEGIES

        if isinstance(data, str):
            data = {"strategy": data}
        if not isinstance(data, dict) or "does" in data:
            return data
        name = data.get("strategy")
        if not isinstance(name, str) or name not in STRATEGIES.names():
            raise ValueError(
                f"strategy: unknown strategy {name!r:.80}; known are {one_of(STRATEGIES.names())}"
            )
        parameters = {key: value for key, value in data.items() if key not in ("strategy", "budget")}
        return {
            "does": STRATEGIES.get(name).model_validate(parameters, strict=True),
            "budget": data.get("budget"),
        }

    @model_serializer
    def _as_given(self) -> dict[str, Any]:
        from mull.strategies.registry import STRATEGIES

        name = next((n for n in STRATEGIES.names() if STRATEGIES.get(n) is type(self.does)), None)
        budget = {} if self.budget is None else {"budget": self.budget.model_dump(exclude_none=True)}
        return {"strategy": name or type(self.does).__name__, **self.does.model_dump(), **budget}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        from mull.strategies.registry import STRATEGIES

        return {
            "type": "object",
            "description": "A strategy with its parameters beside its name, and its part of the budget.",
            "properties": {
                "strategy": {"type": "string", "enum": STRATEGIES.names()},
                "budget": Share.model_json_schema(),
            },
            "required": ["strategy"],
            "additionalProperties": True,
        }


def _least(own: Any, part: Any) -> Any:
    return own if part is None else part if own is None else min(own, part)
