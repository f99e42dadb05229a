"""Chain of thought: where the instruction goes, and that the rest is the inner strategy's."""

from __future__ import annotations

from typing import Any

import pytest

from mull.strategies.cot import CoT
from mull.strategies.majority_vote import MajorityVote
from mull.testing import ScriptedGenerator, solve
from mull.types import Chat, Sampling, Task

from .talking import Overheard, Talker

WORLD = Talker()
THINK = "Let's think step by step."
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


async def asked(*messages: dict[str, Any], **fields: Any) -> list[Any]:
    """The messages that the model gets."""
    script = Overheard(WORLD)
    task = Task(chat=Chat(messages=messages), sampling=Sampling(max_tokens=200, seed=0))
    await solve(CoT.model_validate(fields), WORLD, task=task, generator=ScriptedGenerator(script))
    return list(script.chats[0].messages)


async def test_the_last_user_message_ends_in_the_instruction() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two {x}?", "name": "Ann"},
        {"role": "assistant", "content": "Hm"},
    ]
    found = await asked(*messages)
    assert found[:3] + found[4:] == messages[:3] + messages[4:]
    assert found[3] == {"role": "user", "content": f"Two {{x}}?\n{THINK}", "name": "Ann"}


async def test_another_instruction_can_be_given() -> None:
    assert (await asked({"role": "user", "content": "?"}, instruction="Think {hard}."))[0]["content"] == (
        "?\nThink {hard}."
    )


async def test_pictures_stay_where_they_are() -> None:
    parts = [{"type": "text", "text": "What is it?"}, IMAGE]
    (found,) = await asked({"role": "user", "content": parts})
    assert found["content"] == [*parts, {"type": "text", "text": f"\n{THINK}"}]


async def test_without_a_user_the_instruction_is_the_question() -> None:
    found = await asked({"role": "system", "content": "Be brief."})
    assert found[1] == {"role": "user", "content": THINK}


async def test_the_inner_strategy_answers_and_streams() -> None:
    strategy = CoT.model_validate({"inner": {"strategy": "majority_vote", "n": 5}})
    answer, trial = await solve(strategy, WORLD)
    assert (len(answer.choices), trial.run.budget.samples) == (5, 5)
    assert strategy.cost() == MajorityVote(n=5).cost()
    answer, trial = await solve(CoT(), WORLD, commits=True)
    assert "".join(chunk.text for chunk in trial.chunks) == answer.best.candidate.text


def test_it_needs_what_the_inner_strategy_needs() -> None:
    assert CoT.model_validate({"inner": "beam_search"}).needs.verifier == "process"
    assert CoT().needs.verifier is None


@pytest.mark.parametrize("fields", [{"instruction": ""}, {"inner": "nobody"}, {"n": 2}])
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CoT.model_validate(fields)
