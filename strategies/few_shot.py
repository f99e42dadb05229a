"""Examples before the question, as turns of the conversation.

Brown et al. 2020, Language Models are Few-Shot Learners; chosen by similarity as in Liu et al. 2021, What
Makes Good In-Context Examples for GPT-3?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from mull.run import Run
from mull.strategies.base import Cost, Many, Needs, StrategyModel
from mull.strategies.nested import Inner
from mull.strategies.prompts import fill, holding
from mull.strategies.room import roomy
from mull.strategies.single import Single
from mull.strategies.turns import instructed, preceded
from mull.types import Answer, Chat, Passage, Task


class Example(BaseModel):
    """A question and its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    answer: str


class FewShot(StrategyModel):
    """Puts examples before the conversation, each a user's and an assistant's turn, and lets `inner` answer.

    Without `examples`, the `k` that fit the question best come from a retriever, the best of them last. What
    it finds has `question` and `answer` in its data; a plain text is shown in the system message, in
    `preface`. As many are used, the best ones first, as leave a quarter of the context (or `max_tokens`, if
    that is less) to the answer. When nothing is found, the inner strategy answers as it would alone.
    Cost: that of the inner strategy.
    """

    source: ClassVar[str] = (
        "Brown et al. 2020, Language Models are Few-Shot Learners, https://arxiv.org/abs/2005.14165; Liu et "
        "al. 2021, What Makes Good In-Context Examples for GPT-3?, https://arxiv.org/abs/2101.06804"
    )
    cost_model: ClassVar[str] = "that of inner; the prompt grows by the examples"

    examples: Many[Example] = Field((), max_length=128, description="Examples, in the order of their turns.")
    k: int = Field(4, ge=1, le=128, description="How many to retrieve where none are given.")
    retriever: str | None = Field(
        None, description="Which of the server's retrievers is the pool; the only one by default."
    )
    preface: str = Field(
        "Examples:\n\n{examples}",
        pattern=holding("examples"),
        description="How plain texts of the pool are shown.",
    )
    inner: Inner = Field(Inner.of(Single()), description="The strategy that answers.")

    @property
    def needs(self) -> Needs:
        """What the inner strategy needs, and a retriever where no examples are given."""
        return super().needs | self.inner.needs | Needs(retriever=not self.examples)

    def cost(self) -> Cost:
        """That of the inner strategy."""
        return self.inner.cost()

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Find examples, then answer in the inner strategy's way."""
        if self.examples:
            chat = preceded(task.chat, *_turns(self.examples))
        else:
            chat = await self._retrieved(task.chat, run)
        return await self.inner.solve(run, task=replace(task, chat=chat), commits=True)

    async def _retrieved(self, chat: Chat, run: Run) -> Chat:
        """The chat after as many examples of the pool as fit."""
        found = await run.retrieve(chat.question, self.k, name=self.retriever)
        for used in range(len(found), 0, -1):
            longer = self._shown(chat, found[:used])
            if await roomy(run, longer):
                return longer
        return chat

    def _shown(self, chat: Chat, found: Sequence[Passage]) -> Chat:
        """The chat after these examples, the best one last."""
        pairs, texts = [], []
        for passage in reversed(found):
            question, answer = passage.data.get("question"), passage.data.get("answer")
            if isinstance(question, str) and isinstance(answer, str):
                pairs.append(Example(question=question, answer=answer))
            else:
                texts.append(passage.text)
        if texts:
            chat = instructed(chat, fill(self.preface, examples="\n\n".join(texts)))
        return preceded(chat, *_turns(pairs))


def _turns(examples: Sequence[Example]) -> list[dict[str, str]]:
    return [
        message
        for example in examples
        for message in (
            {"role": "user", "content": example.question},
            {"role": "assistant", "content": example.answer},
        )
    ]
