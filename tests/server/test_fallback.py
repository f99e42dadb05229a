"""What a vote in place of a verifier that has failed is among."""

from __future__ import annotations

from dataclasses import replace

from mull.server.service import _Heard
from mull.testing import ScriptedVerifier, World
from mull.types import Candidate, Finish, Prompt

TASK = World().task()


def candidate(node: int, finish: Finish = "stop") -> Candidate:
    """An answer, or a part of one."""
    return Candidate(prompt=Prompt(chat=TASK.chat), steps=(f"{node}",), finish=finish, node=node)


async def test_all_answers_that_were_judged_are_heard_each_once() -> None:
    heard = _Heard(ScriptedVerifier.constant())
    await heard.score(TASK, [candidate(1), candidate(2, "step")])
    await heard.score(TASK, [candidate(1), candidate(3), candidate(4, "length")])
    assert [c.node for c in heard.candidates] == [1, 3]


async def test_answers_to_another_question_are_none_to_this_one() -> None:
    heard = _Heard(ScriptedVerifier.constant())
    await heard.score(TASK, [candidate(1)])
    await heard.score(replace(TASK, reference="7"), [candidate(2)])
    assert [c.node for c in heard.candidates] == [2]
