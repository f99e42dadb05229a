"""What has been thought so far, and how operations go on from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mull.run import Run
from mull.strategies.graph_of_thoughts.operations import (
    Aggregate,
    AnyOperation,
    Generate,
    Judge,
    KeepBest,
    Refine,
)
from mull.strategies.panel import numbered, shown
from mull.strategies.prompts import fill
from mull.strategies.ranking import behind, read
from mull.strategies.turns import follow_up, rephrased
from mull.strategies.verdict import CHECK, verdicts
from mull.types import Answer, Candidate, Chat, Score

GO_ON = "{question}\n\nHere is a thought about it:\n\n{thought}\n\nGo on from there."
JOIN = (
    "{question}\n\nHere are several thoughts about it:\n\n{thoughts}\n\n"
    "Join what is right in them into one answer."
)
IMPROVE = "Look for mistakes in this answer, then write it again without them."


class State:
    """What has been thought so far, and what it is worth."""

    def __init__(self, run: Run, *, verified: bool) -> None:
        self._run = run
        self._verified = verified
        self._scores: dict[int, float] = {}
        self._answers: list[Sequence[Candidate]] = []
        self._parts: list[Candidate] = []

    async def apply(
        self, operation: AnyOperation, thoughts: Sequence[Candidate], node: int
    ) -> list[Candidate]:
        """The thoughts that an operation gives; `node` is its own in the trace."""
        if isinstance(operation, KeepBest):
            return self._kept(operation, thoughts)
        if isinstance(operation, Judge):
            await self._score(operation, thoughts)
            return list(thoughts)
        if isinstance(operation, Generate):
            made = await self._generated(operation, thoughts, node)
        elif isinstance(operation, Aggregate):
            made = await self._aggregated(operation, thoughts, node)
        else:
            return await self._refined(operation, thoughts, node)
        self._note(made, part=operation.part)
        return made

    async def conclude(self, last: set[int]) -> Answer:
        """The answers, ranked; `last` are the nodes of the graph's result."""
        rest = [replace(part, finish="length") for part in self._parts]
        latest = [answer for made in reversed(self._answers) for answer in made]
        choices = await read(self._run, latest or rest)
        choices = [replace(c, score=self._scores.get(c.candidate.node)) for c in choices]
        compete = all(c.score is not None for c in choices if c.candidate.node in last)
        ranked = sorted(
            choices,
            key=lambda c: (
                *behind(c),
                not compete and c.candidate.node not in last,
                c.score is None,
                -(c.score or 0.0),
                c.candidate.node not in last,
            ),
        )
        return Answer(choices=tuple(ranked), confidence=ranked[0].score)

    def _note(self, made: Sequence[Candidate], *, part: bool) -> None:
        if part:
            self._parts.extend(made)
        else:
            self._answers.append(made)

    async def _generated(
        self, operation: Generate, thoughts: Sequence[Candidate], node: int
    ) -> list[Candidate]:
        run, chat, prompt = self._run, self._run.task.chat, operation.prompt
        if not thoughts and prompt is None:
            return await run.collect(await run.start(under=node), n=operation.n)
        texts = [thought.text for thought in thoughts] or [""]
        asked = [fill(prompt or GO_ON, question=chat.question, thought=text) for text in texts]
        families = await run.together(
            [run.ask(rephrased(chat, told), n=operation.n, under=node, kind="thought") for told in asked]
        )
        for family, thought in zip(families, thoughts, strict=False):
            self._derive(family, [thought])
        return [made for family in families for made in family]

    async def _aggregated(
        self, operation: Aggregate, thoughts: Sequence[Candidate], node: int
    ) -> list[Candidate]:
        run, chat, prompt = self._run, self._run.task.chat, operation.prompt or JOIN
        root = await shown(
            run,
            [thought.text for thought in thoughts],
            lambda texts: rephrased(chat, fill(prompt, question=chat.question, thoughts=numbered(texts))),
            under=node,
        )
        made = [] if root is None else await run.collect(root, n=operation.n, kind="thought")
        self._derive(made, thoughts)
        return made

    async def _refined(self, operation: Refine, thoughts: Sequence[Candidate], node: int) -> list[Candidate]:
        run, prompt = self._run, operation.prompt or IMPROVE
        replies = await run.together(
            [run.ask(self._turned(t, prompt), under=node, kind="thought") for t in thoughts]
        )
        kept = []
        for thought, drawn in zip(thoughts, replies, strict=True):
            self._derive(drawn, [thought])
            kept.append(drawn[0] if drawn and (drawn[0].complete or not thought.complete) else thought)
        for part in (True, False):
            made = zip(thoughts, replies, strict=True)
            self._note([c for t, drawn in made if self._is_part(t) == part for c in drawn], part=part)
        return kept

    async def _score(self, operation: Judge, thoughts: Sequence[Candidate]) -> None:
        run = self._run
        if self._verified:
            judged = await run.score(thoughts)
            known = {t.node: s.reduce("min") for t, s in zip(thoughts, judged, strict=True) if s.known}
        else:
            chats = [self._turned(t, operation.prompt or CHECK) for t in thoughts]
            told = await verdicts(run, chats, under=[t.node for t in thoughts])
            known = {t.node: v for t, v in zip(thoughts, told, strict=True) if v is not None}
            for node, value in known.items():
                run.trace.score(node, Score(value=value))
        self._scores |= known

    def _turned(self, thought: Candidate, request: str) -> Chat:
        """A further request after a thought, as the answer to the question or to its part of it."""
        chat = thought.prompt.chat if self._is_part(thought) else self._run.task.chat
        return follow_up(chat, thought.text, request)

    def _is_part(self, thought: Candidate) -> bool:
        return any(thought.node == part.node for part in self._parts)

    def _kept(self, operation: KeepBest, thoughts: Sequence[Candidate]) -> list[Candidate]:
        best = sorted(thoughts, key=lambda t: (t.truncated, -self._scores.get(t.node, -1.0)))
        for dropped in best[operation.n :]:
            self._run.trace.annotate(dropped.node, pruned=True)
        return best[: operation.n]

    def _derive(self, made: Sequence[Candidate], thoughts: Sequence[Candidate]) -> None:
        for thought in made:
            self._run.trace.annotate(thought.node, parents=[t.node for t in thoughts])
