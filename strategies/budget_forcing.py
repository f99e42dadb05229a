"""Thinking made longer by a word put into the model's mouth, or cut where its budget ends.

Muennighoff et al. 2025, s1: Simple test-time scaling, section 3.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost
from mull.strategies.ranking import by_score, read
from mull.strategies.thinking import Thinking, answered, conclude, thoughts
from mull.types import Answer, Candidate, Task


class BudgetForcing(Thinking):
    """Puts `word` where the model ends its thinking, `extensions` times; cuts it after `thinking` tokens.

    Thinking ends at `end_of_thinking`, or with the answer where the model never writes that; without such a
    text the whole answer is thinking. Thinking that used up its tokens is ended by `end_of_thinking` and
    `closing`, after which the model answers. What is forced is part of the answer and costs nothing. An
    answer that was complete before it was extended stays a candidate, and the one returned should the
    extension be cut off.
    Cost: at most `extensions + 2` generations for each answer asked for.
    """

    source: ClassVar[str] = (
        "Muennighoff et al. 2025, s1: Simple test-time scaling, https://arxiv.org/abs/2501.19393"
    )
    cost_model: ClassVar[str] = "extensions + 2 generations at most, each continuing the one before"

    extensions: int = Field(2, ge=0, le=64, description="How often the end of thinking is suppressed.")
    word: str = Field("Wait", min_length=1, max_length=200, description="What is put in its place.")
    thinking: int | None = Field(
        None, ge=1, le=1_000_000, description="Tokens of thinking at most; None is no limit of its own."
    )

    def cost(self) -> Cost:
        """Thinking, its extensions and the answer."""
        return Cost(generations=self.extensions + 2)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Think, extend, answer; as often as answers are asked for."""
        root = await run.start()
        found: list[Candidate] = []
        for _ in range(task.n):
            found += await self._solve(root, run, certain=task.n == 1)
        return by_score(await read(run, found))

    async def _solve(self, root: Candidate, run: Run, *, certain: bool) -> list[Candidate]:
        """One answer, then the complete ones that it was extended from."""
        end, current = self.end_of_thinking, root
        complete: list[Candidate] = []
        for extension in range(self.extensions + 1):
            if extension:
                if self.thinking is not None and current.tokens >= self.thinking:
                    break
                current = await run.append(current, self.word)
            span = None if self.thinking is None else self.thinking - current.tokens
            drawn = await run.collect(current, span=span, sampling=thoughts(run, end), kind="thinking")
            if not drawn:
                return [*complete, current] if current.steps else []
            current = drawn[0]
            if answered(current, run, end):
                complete.insert(0, current)
            if certain and (not complete or complete[0] is current):
                run.commit_prefix([current.text])
            if not current.complete:
                break
        if complete and complete[0] is current:
            return complete
        if current.truncated:
            return [*complete, current]
        closing = (end or "") + ("" if current.complete else self.closing)
        return [await conclude(current, closing, run, certain=certain and not complete), *complete]
