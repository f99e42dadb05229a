"""Retrieval before, and where the answer is unsure between, the answers of another strategy.

Lewis et al. 2020, Retrieval-Augmented Generation for Knowledge-Intensive NLP Tasks; retrieving again from
what was answered as in Jiang et al. 2023, Active Retrieval Augmented Generation (FLARE), and Trivedi et al.
2023, Interleaving Retrieval with Chain-of-Thought Reasoning (IRCoT).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from mull.errors import BudgetTooSmall
from mull.run import Run
from mull.strategies.asides import aside
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.strategies.leftover import followed_by
from mull.strategies.nested import Inner
from mull.strategies.prompts import fill, holding
from mull.strategies.ranking import by_score, read
from mull.strategies.replies import spoken
from mull.strategies.room import roomy
from mull.strategies.single import Single
from mull.strategies.turns import rephrased
from mull.types import Answer, Candidate, Passage, Task

PROMPT = (
    "{passages}\n\nAnswer from the texts above as far as they help, and name each one used by its number, "
    "as in [1].\n\n{question}"
)
QUERY = "{question}\n\nDo not answer. Write a short search query that would find what is needed to answer."

_CITED = re.compile(r"\[(\d{1,4})\]")


class Rag(StrategyModel):
    """Retrieves `k` passages for the question, shows them to the model and lets `inner` answer.

    While the answer's confidence is below `at_least`, it retrieves again, with the question and the last
    answer as the query, up to `rounds` times in all; `k` new passages come before those of earlier rounds.
    The more confident answer is kept (of equals the later one), the others behind it. An inner strategy
    that has no confidence counts as unsure. It ends when nothing new is found. As many passages are shown,
    best first, as leave a quarter of the context (or `max_tokens`, if that is less) to the answer; verifiers
    see them as the task's documents. The trace has the ids of the passages shown in each round, in the order
    of their numbers, and of those that an answer cites.
    Cost: that of the inner strategy, and a generation for a query that the model writes, a round.
    """

    source: ClassVar[str] = (
        "Lewis et al. 2020, Retrieval-Augmented Generation for Knowledge-Intensive NLP Tasks, "
        "https://arxiv.org/abs/2005.11401; Jiang et al. 2023, Active Retrieval Augmented Generation, "
        "https://arxiv.org/abs/2305.06983; Trivedi et al. 2023, Interleaving Retrieval with Chain-of-Thought "
        "Reasoning, https://arxiv.org/abs/2212.10509"
    )
    cost_model: ClassVar[str] = (
        "1 to rounds times the cost of inner, and a retrieval each; 1 generation more each with query=written"
    )

    k: int = Field(4, ge=1, le=128, description="Passages retrieved a round.")
    retriever: str | None = Field(
        None, min_length=1, max_length=256, description="Which of the server's; the only one by default."
    )
    query: Literal["question", "written"] = Field(
        "question", description="Whether the question itself is the query, or the model writes one."
    )
    inner: Inner = Field(Inner.of(Single()), description="The strategy that answers.")
    at_least: float = Field(
        0.0, ge=0, le=1, description="Confidence below which more is retrieved and the question asked again."
    )
    rounds: int = Field(3, ge=1, le=16, description="Retrievals at most.")
    prompt: str = Field(
        PROMPT,
        pattern=holding("passages", "question"),
        max_length=4000,
        description="The question with what was found: {passages} and {question}.",
    )
    passage: str = Field(
        "[{number}] {text}",
        pattern=holding("text"),
        max_length=1000,
        description="How a passage is shown: {text}, its {number} from 1 and its {id}.",
    )
    query_prompt: str = Field(
        QUERY, pattern=holding("question"), max_length=4000, description="Asks for a query: {question}."
    )

    @property
    def needs(self) -> Needs:
        """A retriever, and what the inner strategy needs."""
        return super().needs | self.inner.needs | Needs(retriever=True)

    def cost(self) -> Cost:
        """All rounds."""
        queries = 1 if self.query == "written" else 0
        return (self.inner.cost() + Cost(generations=queries)) * (self.rounds if self.at_least else 1)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Retrieve and answer, until sure."""
        best: Answer | None = None
        passages: list[Passage] = []
        queries: list[Candidate] = []
        said = ""
        for number in range(1, self.rounds + 1):
            query = await self._query(f"{task.chat.question}\n{said}".strip(), queries, run)
            known = {(p.id, p.text) for p in passages}
            found = await run.retrieve(query, self.k + len(passages), name=self.retriever)
            new = [p for p in found if (p.id, p.text) not in known][: self.k]
            if best is not None and not new:
                break
            passages = [*new, *passages]
            try:
                answer = await self._answer(passages, number, run)
            except BudgetTooSmall:
                if best is None and not queries:
                    raise
                break
            best = answer if best is None else _better(best, answer, run)
            said = spoken(answer.best.candidate.text)
            if _sureness(answer) >= self.at_least:
                break
        if best is None:
            # The budget went into a query: a text that is cut off says more than an error.
            return by_score(await read(run, [replace(written, finish="length") for written in queries]))
        return best

    async def _query(self, question: str, queries: list[Candidate], run: Run) -> str:
        """What to look for; a query that the model wrote is kept."""
        if self.query == "question":
            return question
        asked = rephrased(run.task.chat, fill(self.query_prompt, question=question))
        replies = await run.ask(asked, sampling=aside(run.task.sampling), kind="query")
        queries += replies
        written = spoken(replies[0].text) if replies and replies[0].complete else ""
        return written or question

    async def _answer(self, passages: Sequence[Passage], number: int, run: Run) -> Answer:
        """The inner strategy's answer with these passages, as many as there is room for."""
        task = await self._shown(passages, run)
        node = run.mark("rag", number=number, shown=[p.id for p in task.documents])
        only = self.rounds == 1 or self.at_least == 0
        answer = await self.inner.solve(run, task=task, under=node, commits=only)
        run.trace.annotate(node, confidence=answer.confidence)
        for choice in answer.choices:
            numbers = {int(found) for found in _CITED.findall(choice.candidate.text)}
            if cited := [p.id for i, p in enumerate(task.documents, start=1) if i in numbers]:
                run.trace.annotate(choice.candidate.node, cited=cited)
        return answer

    async def _shown(self, passages: Sequence[Passage], run: Run) -> Task:
        chat = run.task.chat
        for count in range(len(passages), 0, -1):
            listed = "\n\n".join(
                fill(self.passage, number=str(i), id=p.id, text=p.text.strip())
                for i, p in enumerate(passages[:count], start=1)
            )
            asked = rephrased(chat, fill(self.prompt, passages=listed, question=chat.question))
            if await roomy(run, asked) is not None:
                return replace(run.task, chat=asked, documents=tuple(passages[:count]))
        return run.task


def _sureness(answer: Answer) -> float:
    return (answer.confidence or 0.0) if answer.best.candidate.complete else 0.0


def _better(earlier: Answer, later: Answer, run: Run) -> Answer:
    """The surer of two answers, with the other's candidates behind its own."""
    first, second = (later, earlier) if _sureness(later) >= _sureness(earlier) else (earlier, later)
    return followed_by(first, second.choices, run)
