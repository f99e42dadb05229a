"""Where thoughts come from: sampled as next steps of the answer, or proposed in a conversation about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mull.run import Run
from mull.strategies.asides import aside
from mull.strategies.prompts import fill
from mull.strategies.replies import spoken
from mull.strategies.steps import distinct
from mull.strategies.turns import rephrased
from mull.types import Candidate, Chat

NOTHING = "(none)"
"""Stands for the steps of a solution that has not begun."""

_ITEM = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+(?=\S)")


class Thinker(Protocol):
    """Makes states (partial solutions, as candidates) of states, and answers of them."""

    def is_answer(self, state: Candidate) -> bool:
        """Whether a state needs no finishing."""
        ...

    async def grow(self, run: Run, states: Sequence[Candidate], n: int) -> list[list[Candidate]]:
        """At most `n` different states, one thought longer, of each state."""
        ...

    async def finish(self, run: Run, states: Sequence[Candidate]) -> list[Candidate | None]:
        """An answer from each state; None where the budget allows none."""
        ...

    def rest(self, states: Sequence[Candidate]) -> list[Candidate]:
        """What may stand for an answer when there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A thought is the answer's next step, a state is the answer so far."""

    delimiter: str

    def is_answer(self, state: Candidate) -> bool:
        """Whether it has ended, or was cut off."""
        return state.finish in ("stop", "length")

    async def grow(self, run: Run, states: Sequence[Candidate], n: int) -> list[list[Candidate]]:
        """Next steps, one engine call a state, equal ones merged."""
        families = await run.expand(states, n=n, step=self.delimiter, kind="thought")
        return [distinct(family, run) for family in families]

    async def finish(self, run: Run, states: Sequence[Candidate]) -> list[Candidate | None]:
        """The rest of each answer in one go."""
        ends = await run.expand(states, kind="rollout")
        return [next(iter(family), None) for family in ends]

    def rest(self, states: Sequence[Candidate]) -> list[Candidate]:
        """The answers as far as they are written."""
        return [state for state in states if state.steps]


class Proposed:
    """A thought is a line of a reply to the request for several, a state the lines chosen so far.

    The answer is asked for in the end, with the state's thoughts as a plan. Nothing here continues a partial
    answer, so any engine will do. A state's prompt is that of the question alone.

    Args:
        propose: Asks for thoughts; has `{question}`, `{steps}` and `{n}`.
        answer: Asks for the answer; has `{question}` and `{steps}`.
        done: A line that says that no thought is missing.
    """

    def __init__(self, *, propose: str, answer: str, done: str) -> None:
        self._propose = propose
        self._answer = answer
        self._done = done
        self._replies: list[Candidate] = []

    def is_answer(self, state: Candidate) -> bool:
        """No state is."""
        return False

    async def grow(self, run: Run, states: Sequence[Candidate], n: int) -> list[list[Candidate]]:
        """The lines of one reply a state."""
        plain = aside(run.task.sampling)
        replies = await run.together(
            [
                run.ask(
                    self._chat(self._propose, run, state, n), sampling=plain, under=state.node, kind="propose"
                )
                for state in states
            ]
        )
        self._replies += [reply for drawn in replies for reply in drawn]
        return [
            self._states(run, state, drawn[0], n) if drawn else []
            for state, drawn in zip(states, replies, strict=True)
        ]

    async def finish(self, run: Run, states: Sequence[Candidate]) -> list[Candidate | None]:
        """One reply to the question with the thoughts as a plan."""
        nodes = [run.mark("plan", state.text, parents=[state.node]) for state in states]
        replies = await run.together(
            [
                run.ask(self._chat(self._answer, run, state), under=node, kind="answer")
                for state, node in zip(states, nodes, strict=True)
            ]
        )
        return [next(iter(drawn), None) for drawn in replies]

    def rest(self, states: Sequence[Candidate]) -> list[Candidate]:
        """The plans; without any, what was proposed. Both count as cut off."""
        plans = [state for state in states if state.steps] or self._replies
        return [replace(plan, finish="length") for plan in plans]

    def _chat(self, template: str, run: Run, state: Candidate, n: int = 0) -> Chat:
        chat = run.task.chat
        steps = state.text.strip() or NOTHING
        return rephrased(chat, fill(template, question=chat.question, steps=steps, n=str(n)))

    def _states(self, run: Run, state: Candidate, reply: Candidate, n: int) -> list[Candidate]:
        found = []
        for thought in lines(spoken(reply.text), cut=reply.truncated)[:n]:
            node = run.mark("thought", thought, parent=reply.node)
            if thought.strip(" .!").casefold() == self._done.casefold():
                found.append(replace(state, finish="stop", node=node))
            else:
                found.append(replace(state, steps=(*state.steps, f"{thought}\n"), finish="step", node=node))
        return found


def lines(reply: str, *, cut: bool = False) -> list[str]:
    """The different lines of a reply; the items alone where it has a list. `cut` drops the last line."""
    written = [line for line in reply.splitlines() if line.strip()]
    if cut:
        written = written[:-1]
    items = [line for line in written if _ITEM.match(line)] or written
    return list(dict.fromkeys(_ITEM.sub("", line).strip() for line in items))
