"""Algorithms 1 and 2 of the paper: breadth first with a beam, and depth first with a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mull.run import Run
from mull.strategies.tree_of_thoughts.judging import Judge, Scores
from mull.strategies.tree_of_thoughts.thoughts import Thinker
from mull.types import Candidate


@dataclass
class Found:
    """What a search has come to."""

    answers: list[Candidate] = field(default_factory=list)
    partial: list[Candidate] = field(default_factory=list)
    """States without an answer of their own, best first."""
    scores: Scores = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What both searches have in common."""

    thinker: Thinker
    judge: Judge
    expand: int
    depth: int

    async def answer(self, run: Run, states: Sequence[Candidate], found: Found) -> None:
        """Have states finished."""
        ends = await self.thinker.finish(run, states)
        made = [(end, found.scores.get(s.node, 0.0)) for end, s in zip(ends, states, strict=True) if end]
        answers, before = [end for end, _ in made], [value for _, value in made]
        found.answers += answers
        found.scores |= await self.judge.of_answers(run, answers, before)


@dataclass(frozen=True, kw_only=True)
class Breadth(Search):
    """Keeps the best `width` states of each level."""

    width: int

    async def __call__(self, root: Candidate, run: Run) -> Found:
        """Level by level; the best states are then finished, as many as answers are asked for."""
        found, live, ended = Found(), [root], list[Candidate]()
        for _ in range(self.depth):
            families = await self.thinker.grow(run, live, self.expand)
            grown = [state for family in families for state in family]
            if not grown:
                break
            field = [*ended, *grown]
            found.scores |= await self.judge(run, field if self.judge.relative else grown)
            ended = [state for state in field if state.finish != "step"]
            live = self._kept(field, found.scores, run)
            if not live:
                break
        found.answers = [state for state in ended if self.thinker.is_answer(state)]
        found.partial = ranked(
            [s for s in (*ended, *live) if (s.steps or s.finish == "stop") and s not in found.answers],
            found.scores,
        )
        best = ranked([*found.answers, *found.partial], found.scores)[: run.task.n] or [root]
        await self.answer(run, [state for state in best if not self.thinker.is_answer(state)], found)
        return found

    def _kept(self, field: Sequence[Candidate], scores: Scores, run: Run) -> list[Candidate]:
        """The best states, as far as they can grow; what else could is marked as pruned."""
        best = ranked(field, scores)
        for state in best[self.width :]:
            if state.finish == "step":
                run.trace.annotate(state.node, pruned=True)
        return [state for state in best[: self.width] if state.finish == "step"]


@dataclass(frozen=True, kw_only=True)
class Depth(Search):
    """Follows the best thought, turns back where none is worth more than `threshold`."""

    threshold: float
    visits: int

    async def __call__(self, root: Candidate, run: Run) -> Found:
        """Until there are as many answers as are asked for, or `visits` states were grown."""
        found, stack, seen, visits, reached = Found(), [(root, 0)], list[tuple[Candidate, int]](), 0, 0
        while stack and reached < run.task.n and run.budget.exhausted is None:
            state, level = stack.pop()
            if self.thinker.is_answer(state):
                reached += 1
            elif level == self.depth or state.finish == "stop":
                before = len(found.answers)
                await self.answer(run, [state], found)
                reached += len(found.answers) - before
            elif visits == self.visits:
                run.stop("visits")
                break
            else:
                visits += 1
                children = await self._grown(state, found, run)
                seen += [(child, level + 1) for child in children]
                good = [c for c in ranked(children, found.scores) if found.scores[c.node] > self.threshold]
                for child in children:
                    if child not in good:
                        run.trace.annotate(child.node, pruned=True)
                stack += [(child, level + 1) for child in reversed(good)]
        deepest = sorted(seen, key=lambda s: (-s[1], -found.scores[s[0].node]))
        found.partial = [state for state, _ in deepest if not self.thinker.is_answer(state)]
        if not reached:
            await self.answer(run, found.partial[:1] or [root], found)
        return found

    async def _grown(self, state: Candidate, found: Found, run: Run) -> list[Candidate]:
        [children] = await self.thinker.grow(run, [state], self.expand)
        if children:
            found.scores |= await self.judge(run, children)
            found.answers += [child for child in children if self.thinker.is_answer(child)]
        return children


def ranked(states: Sequence[Candidate], scores: Scores) -> list[Candidate]:
    """Best first, what is cut off last, the earlier of equals first."""
    return sorted(states, key=lambda state: (state.truncated, -scores.get(state.node, 0.0)))
