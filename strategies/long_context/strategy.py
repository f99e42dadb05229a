"""Texts longer than the model's context: read part by part, answered from the notes.

Zhou et al. 2024, LLM x MapReduce: Simplified Long-Sequence Processing using Large Language Models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mull.errors import BudgetTooSmall, InvalidRequest
from mull.run import Run
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.strategies.long_context.reading import Note, Reader
from mull.strategies.nested import Inner
from mull.strategies.panel import numbered
from mull.strategies.prompts import fill, holding
from mull.strategies.ranking import by_score, read
from mull.strategies.room import roomy
from mull.strategies.single import Single
from mull.strategies.turns import rephrased
from mull.types import Answer, Chat, Passage, Task

MAP = (
    "A part of a longer text:\n\n{part}\n\n"
    "Answer from this part only, in a few sentences. If it does not help, reply only: {nothing}\n\n{question}"
)
REDUCE = (
    "Notes from the parts of a long text, in their order:\n\n{notes}\n\n"
    "Answer from these notes.\n\n{question}"
)

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


class LongContext(StrategyModel):
    """Answers a question about a text that is longer than the context; other requests go to `inner` as such.

    A request is too long when it does not leave a quarter of the context (or `max_tokens`, if that is less)
    to the answer. Then the last user message is taken apart into the text and, behind the last blank line or
    the last `split`, the question. The text is cut at the ends of sentences into parts that fit; the model
    notes what each says to the question, all parts at once, and `inner` answers from the notes. Notes too
    long for one prompt are read in the same way, `levels` times in all; what still does not fit is left out
    from the end, which the trace says. The parts that gave notes are the task's documents.
    Needs an engine that tells how long a prompt is; with others nothing is ever found too long.
    Cost: a generation for each part, fewer for each further level, and that of `inner`.
    """

    source: ClassVar[str] = (
        "Zhou et al. 2024, LLM x MapReduce: Simplified Long-Sequence Processing using Large Language Models, "
        "https://arxiv.org/abs/2410.09342"
    )
    cost_model: ClassVar[str] = (
        "the cost of inner; where the text is too long, a generation for each part besides, at most parts on "
        "each of levels levels"
    )

    inner: Inner = Field(Inner.of(Single()), description="The strategy that answers.")
    split: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="What stands between text and question; the last blank line by default.",
    )
    window: int | None = Field(
        None, ge=32, description="Tokens of prompt and reply at most; the model's context by default."
    )
    parts: int = Field(64, ge=1, le=4096, description="Parts of the text at most; longer ones are refused.")
    overlap: float = Field(0.0, ge=0, le=0.5, description="Share of a part that the next one repeats.")
    note_tokens: int = Field(
        256, ge=1, le=65536, description="Longest note of a part; a quarter of the window at most."
    )
    levels: int = Field(3, ge=1, le=8, description="How often notes are made, the first time of the text.")
    nothing: str = Field(
        "nothing", min_length=1, max_length=100, description="The reply to a part that does not help."
    )
    map_prompt: str = Field(
        MAP,
        pattern=holding("part", "question"),
        max_length=4000,
        description="Asks for a note: {part}, {question} and {nothing}.",
    )
    reduce_prompt: str = Field(
        REDUCE,
        pattern=holding("notes", "question"),
        max_length=4000,
        description="Asks for the answer: {notes} and {question}.",
    )

    @property
    def needs(self) -> Needs:
        """What the inner strategy needs."""
        return super().needs | self.inner.needs

    def cost(self) -> Cost:
        """As many parts as there may be, on every level, and the inner strategy's."""
        return self.inner.cost() + Cost(generations=self.parts * self.levels)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Answer at once if possible, else read and answer."""
        if await roomy(run, task.chat, window=self.window) is not None:
            return await self.inner.solve(run, commits=True)
        text, question = self._taken_apart(task.chat.question)
        await run.start(self._concluding(question, (), run))  # else it is refused before anything is spent
        reader = self._reader(question, run)
        notes, documents = await self._read(reader, text, question, run)
        kept = await self._kept(notes, question, run)
        node = run.mark("reduce", parents=[note.reply.node for note in kept])
        asked = replace(task, chat=self._concluding(question, kept, run), documents=documents)
        try:
            return await self.inner.solve(run, task=asked, under=node, commits=True)
        except BudgetTooSmall:
            return by_score(await read(run, [replace(reply, finish="length") for reply in reader.replies]))

    def _taken_apart(self, message: str) -> tuple[str, str]:
        message = message.rstrip()
        if self.split is not None:
            text, _, question = message.rpartition(self.split)
        else:
            lines = list(_BLANK_LINE.finditer(message))
            text, question = (message[: lines[-1].start()], message[lines[-1].end() :]) if lines else ("", "")
        if not text.strip() or not question.strip():
            line = "a blank line" if self.split is None else repr(self.split)
            raise InvalidRequest(
                f"the messages are longer than the context, and {line} between text and question is missing",
                param="messages",
                code="context_length_exceeded",
            )
        return text, question.strip()

    async def _read(
        self, reader: Reader, text: str, question: str, run: Run
    ) -> tuple[list[Note], tuple[Passage, ...]]:
        """Notes of the text, of these where they are too long, and so on; and the parts they come from."""
        notes: list[Note] = []
        documents: tuple[Passage, ...] = ()
        for level in range(1, self.levels + 1):
            node = run.mark("map", number=level, parents=[note.reply.node for note in notes])
            parts = await reader.parts(text, under=node)
            if level == 1 and len(parts) > self.parts:
                raise InvalidRequest(
                    f"the text has {len(parts)} parts; {self.parts} are allowed",
                    param="ttc.parts",
                    code="context_length_exceeded",
                )
            if level > 1 and len(parts) >= len(notes):
                break
            run.trace.annotate(node, parts=len(parts))
            made = await reader.notes(parts)
            if level > 1 and not made:
                break
            notes = made
            if level == 1:
                documents = tuple(
                    Passage(id=f"part {number}", text=part.text)
                    for number, part in enumerate(parts, start=1)
                    if any(note.part is part.text for note in notes)
                )
            if not notes or await self._fits(question, notes, run):
                break
            text = "\n\n".join(note.text for note in notes)
        return notes, documents

    async def _kept(self, notes: Sequence[Note], question: str, run: Run) -> Sequence[Note]:
        """As many notes as there is room for."""
        for count in range(len(notes), 0, -1):
            if await self._fits(question, notes[:count], run):
                break
        else:
            count = 0
        if count < len(notes):
            run.mark("too_long", notes=len(notes), kept=count)
        return notes[:count]

    async def _fits(self, question: str, notes: Sequence[Note], run: Run) -> bool:
        chat = self._concluding(question, notes, run)
        return await roomy(run, chat, window=self.window) is not None

    def _concluding(self, question: str, notes: Sequence[Note], run: Run) -> Chat:
        listed = numbered([note.text for note in notes]) or self.nothing
        return rephrased(run.task.chat, fill(self.reduce_prompt, notes=listed, question=question))

    def _reader(self, question: str, run: Run) -> Reader:
        def ask(part: str) -> Chat:
            told = fill(self.map_prompt, part=part, question=question, nothing=self.nothing)
            return rephrased(run.task.chat, told)

        return Reader(
            run,
            ask=ask,
            window=run.context if self.window is None else min(self.window, run.context),
            tokens=self.note_tokens,
            overlap=self.overlap,
            nothing=self.nothing,
        )
