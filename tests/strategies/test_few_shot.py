"""Few-shot prompting: which examples, in which order, and what happens without any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mull.errors import InvalidRequest, NotFound
from mull.strategies.few_shot import FewShot
from mull.testing import ScriptedGenerator, Trial, solve
from mull.types import Chat, Passage, Sampling, Task

from .talking import Overheard, Talker, told

WORLD = Talker()
CHAT = Chat(messages=({"role": "system", "content": "Be brief."}, {"role": "user", "content": "3+3?"}))
TASK = Task(chat=CHAT, sampling=Sampling(max_tokens=200, seed=0))


class Pool:
    """Finds the same passages, best first, whatever is asked."""

    name = "pool"

    def __init__(self, *passages: Passage) -> None:
        self.passages = passages
        self.asked: list[tuple[str, int]] = []

    async def search(self, query: str, k: int) -> list[Passage]:
        self.asked.append((query, k))
        return list(self.passages[:k])


def pair(question: str, answer: str) -> Passage:
    return Passage(text=f"{question} {answer}", data={"question": question, "answer": answer})


async def shown(
    pool: Pool, fields: dict[str, Any] | None = None, *, task: Task = TASK, context: int = 4096
) -> tuple[list[str], Trial]:
    """The conversation that the model gets."""
    script = Overheard(WORLD)
    strategy = FewShot.model_validate(fields or {})
    engine = ScriptedGenerator(script, context=context)
    _, trial = await solve(strategy, WORLD, task=task, generator=engine, retrievers={"pool": pool})
    return told(script.chats[0]), trial


def given(*questions: str) -> list[dict[str, str]]:
    return [{"question": q, "answer": f"{q}!"} for q in questions]


async def test_given_examples_are_turns_before_the_conversation() -> None:
    pool = Pool(pair("1+1?", "2"))
    found, _ = await shown(pool, {"examples": given("1+{x}?", "2+2?")})
    assert found == ["s: Be brief.", "u: 1+{x}?", "a: 1+{x}?!", "u: 2+2?", "a: 2+2?!", "u: 3+3?"]
    assert pool.asked == []


async def test_retrieved_examples_end_in_the_most_similar_one() -> None:
    pool = Pool(pair("3+2?", "5"), pair("2+2?", "4"), pair("9*9?", "81"))
    found, _ = await shown(pool, {"k": 2})
    assert found == ["s: Be brief.", "u: 2+2?", "a: 4", "u: 3+2?", "a: 5", "u: 3+3?"]
    assert pool.asked == [("3+3?", 2)]


async def test_texts_without_question_and_answer_are_shown_in_the_system_message() -> None:
    pool = Pool(Passage(text="3+2={5}"), pair("2+2?", "4"), Passage(text="1+1=2", data={"question": "1?"}))
    found, _ = await shown(pool, {"preface": "See {examples}; {this}."})
    assert found == ["s: Be brief.\n\nSee 1+1=2\n\n3+2={5}; {this}.", "u: 2+2?", "a: 4", "u: 3+3?"]


async def test_nothing_found_leaves_the_plain_question() -> None:
    found, trial = await shown(Pool())
    assert found == told(CHAT)
    assert trial.run.budget.samples == 1


@pytest.mark.parametrize(("context", "used"), [(4096, 3), (480, 2), (370, 1), (100, 0)])
async def test_what_leaves_no_room_for_an_answer_is_not_shown(context: int, used: int) -> None:
    """An example takes 130 tokens, the rest 44, and a quarter of the context is for the answer."""
    long = [pair(f"{i}{'?' * 99}", "yes " * 3) for i in range(3)]
    found, _ = await shown(Pool(*long), context=context)
    assert found[1:-1:2] == [f"u: {i}{'?' * 99}" for i in reversed(range(used))]


async def test_given_examples_beyond_the_context_are_the_callers_mistake() -> None:
    with pytest.raises(InvalidRequest, match="context"):
        await shown(Pool(), {"examples": given("?" * 200)}, context=200)


async def test_a_pool_is_found_by_its_name() -> None:
    found, _ = await shown(Pool(pair("1?", "1")), {"retriever": "pool"})
    assert found[1] == "u: 1?"
    with pytest.raises(NotFound, match="pool"):
        await shown(Pool(), {"retriever": "lake"})


async def test_the_inner_strategy_answers_and_streams() -> None:
    fields: dict[str, Any] = {"examples": given("1?"), "inner": {"strategy": "majority_vote", "n": 5}}
    answer, trial = await solve(FewShot.model_validate(fields), WORLD)
    assert (len(answer.choices), trial.run.budget.samples) == (5, 5)
    answer, trial = await solve(FewShot.model_validate({"examples": given("1?")}), WORLD, commits=True)
    assert "".join(chunk.text for chunk in trial.chunks) == answer.best.candidate.text


@pytest.mark.parametrize(("examples", "retriever"), [([], True), (given("1?"), False)])
def test_a_retriever_is_needed_only_without_examples(examples: Sequence[Any], retriever: bool) -> None:
    assert FewShot.model_validate({"examples": list(examples)}).needs.retriever is retriever


@pytest.mark.parametrize(
    "fields",
    [{"examples": [{"question": "1?"}]}, {"k": 0}, {"preface": "none"}, {"inner": "nobody"}, {"n": 2}],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        FewShot.model_validate(fields)
