"""Chain of thought without examples: the question asks for it.

Kojima et al. 2022, Large Language Models are Zero-Shot Reasoners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.strategies.nested import Inner
from mull.strategies.single import Single
from mull.types import Answer, Chat, Task


class CoT(StrategyModel):
    """Appends `instruction` to the last user message and lets `inner` answer.

    Cost: that of the inner strategy.
    """

    source: ClassVar[str] = (
        "Kojima et al. 2022, Large Language Models are Zero-Shot Reasoners, https://arxiv.org/abs/2205.11916"
    )
    cost_model: ClassVar[str] = "that of inner"

    instruction: str = Field(
        "Let's think step by step.", min_length=1, description="What the last user message ends in."
    )
    inner: Inner = Field(Inner.of(Single()), description="The strategy that answers.")

    @property
    def needs(self) -> Needs:
        """What the inner strategy needs."""
        return super().needs | self.inner.needs

    def cost(self) -> Cost:
        """That of the inner strategy."""
        return self.inner.cost()

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Ask for the thoughts, then for the answer in the inner strategy's way."""
        asked = replace(task, chat=_ending_in(task.chat, self.instruction))
        return await self.inner.solve(run, task=asked, commits=True)


def _ending_in(chat: Chat, instruction: str) -> Chat:
    """The chat with an instruction at the end of its last user message; parts that are no text stay."""
    messages: list[Mapping[str, Any]] = list(chat.messages)
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].get("role") == "user":
            said = messages[at].get("content")
            messages[at] = {**messages[at], "content": _joined(said, instruction)}
            return replace(chat, messages=tuple(messages))
    return replace(chat, messages=(*messages, {"role": "user", "content": instruction}))


def _joined(content: Any, instruction: str) -> Any:
    if isinstance(content, str | None):
        return f"{content}\n{instruction}" if content else instruction
    return [*content, {"type": "text", "text": f"\n{instruction}"}]
