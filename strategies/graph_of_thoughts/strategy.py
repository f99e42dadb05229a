"""Graph of thoughts: generated, joined, refined and judged as a graph says that is given as data.

Besta et al. 2023, Graph of Thoughts: Solving Elaborate Problems with Large Language Models.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from mull.run import Run
from mull.strategies.base import Cost, Many, Needs, StrategyModel
from mull.strategies.graph_of_thoughts.operations import (
    DEFAULT,
    MOST_OPERATIONS,
    MOST_THOUGHTS,
    AnyOperation,
    Judge,
    sources,
    taken,
)
from mull.strategies.graph_of_thoughts.state import State
from mull.types import Answer, Candidate, Task


class GraphOfThoughts(StrategyModel):
    """Carries out the operations of `graph` in their order, each on the thoughts of earlier ones.

    `generate` writes new thoughts, `aggregate` one of several, `refine` each one anew, `score` has them
    judged by the model itself (the probability of Yes) or by the request's verifier, `keep_best` drops the
    others. The thoughts that no operation takes are the result. If they have been scored, everything that
    answers the question (and not only a `part` of it) competes by its latest score, equals in favour of the
    result; else the result comes first. Confidence is the score of the answer.
    Cost: what the operations take together; with the defaults 4 + 4 + 1 + 1 + 2 generations.
    """

    source: ClassVar[str] = (
        "Besta et al. 2023, Graph of Thoughts: Solving Elaborate Problems with Large Language Models, "
        "https://arxiv.org/abs/2308.09687"
    )
    cost_model: ClassVar[str] = (
        "for each operation on t thoughts: generate n * t generations, aggregate n, refine t, score t "
        "generations (or scores), keep_best none"
    )

    graph: Many[AnyOperation] = Field(
        DEFAULT,
        min_length=1,
        max_length=MOST_OPERATIONS,
        description="Operations; each can take thoughts from those before it, in `from`.",
    )
    scorer: Literal["model", "verifier"] = Field("model", description="Who scores.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for number, (operation, count) in enumerate(zip(self.graph, taken(self.graph), strict=True)):
            if operation.gives(count) > MOST_THOUGHTS:
                raise ValueError(f"graph: operation {number} gives more than {MOST_THOUGHTS} thoughts")
        return self

    @property
    def needs(self) -> Needs:
        """A verifier where it scores."""
        verified = self.scorer == "verifier" and any(isinstance(o, Judge) for o in self.graph)
        return Needs(verifier="outcome" if verified else None)

    def cost(self) -> Cost:
        """All operations, with as many thoughts as they can have."""
        total = Cost(generations=0)
        for operation, count in zip(self.graph, taken(self.graph), strict=True):
            asks = operation.asks(count)
            verified = isinstance(operation, Judge) and self.scorer == "verifier"
            total += Cost(generations=0, scores=asks) if verified else Cost(generations=asks)
        return total

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Operation by operation."""
        state = State(run, verified=self.scorer == "verifier")
        given = sources(self.graph)
        results: list[list[Candidate]] = []
        for number, (operation, origins) in enumerate(zip(self.graph, given, strict=True)):
            nodes = {c.node: c for origin in origins for c in results[origin]}
            thoughts = list(nodes.values())
            if origins and not thoughts:
                results.append([])
                continue
            node = run.mark(operation.op, number=number, parents=list(nodes))
            results.append(await state.apply(operation, thoughts, node))
        used = {origin for origins in given for origin in origins}
        last = {c.node for number, kept in enumerate(results) if number not in used for c in kept}
        return await state.conclude(last)
