"""Grounding: what of an answer occurs in the retrieved documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.errors import InvalidRequest
from mull.types import Candidate, Chat, Passage, Prompt, Score, Task
from mull.verifiers.grounding import GroundingVerifier

Make = Callable[..., Any]

DOCUMENTS = (
    Passage(text="The Danube is 2,850 km long and flows through Vienna."),
    Passage(text="Café Central in Vienna opened in 1876; entry costs 3.50 euros."),
)


@pytest.fixture
def score(task: Make, candidate: Make) -> Make:
    async def score(*answers: str, question: str = "How long?", **settings: Any) -> list[Score]:
        verifier = GroundingVerifier("facts", **settings)
        asked = task(question, documents=DOCUMENTS)
        return await verifier.score(asked, [candidate(answer) for answer in answers])

    return score


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("The Danube flows through Vienna.", 1),
        ("It is the DANUBE, and so on.", 1),
        ("The Danube flows through Moscow.", 2 / 3),
        ("It is 2850 km long.", 1),
        ("It is 2,850.0 km long.", 1),
        ("It is 2851 km long.", 0),
        ("It opened in 1876 or 1877.", 1 / 2),
        ("It opened in 1877 in Moscow.", 0),
        ("Opened in 1876 in Moscow.", 1 / 2),
        ("cafe central costs 3.5", 1),
        ("28 is no part of 2,850", 0),
        ("So the answer is:", 1),
        ("", 0),
        (" \n ", 0),
    ],
)
async def test_the_share_of_numbers_times_the_share_of_words(score: Make, answer: str, value: float) -> None:
    (found,) = await score(answer)
    assert found.value == pytest.approx(value)


async def test_each_step_is_judged(score: Make) -> None:
    answer = "Danube and Volga\n\nVienna\nSo:\n"
    (least,) = await score(answer)
    assert (least.steps, least.value) == ((0.5, 1.0, 1.0), 0.5)
    (mean,) = await score(answer, aggregation="mean")
    assert mean.value == pytest.approx(5 / 6)
    (whole,) = await score(answer, delimiter="\n\n")
    assert whole.steps == (0.5, 1.0)
    (blank,) = await score(" ")
    assert blank.steps == ()


async def test_what_the_question_says_is_not_counted(score: Make) -> None:
    (found,) = await score("In 1999 the Volga met the Danube.", question="Did the Volga, in 1999, ...?")
    assert found.value == 0.5  # `Danube` occurs, `met` does not


async def test_a_batch_is_judged_as_its_members_are(score: Make) -> None:
    answers = ("Vienna", "Moscow", "Vienna\n1876")
    together = await score(*answers)
    assert together == [(await score(answer))[0] for answer in answers]


async def test_without_documents_there_is_nothing_to_hold_against(task: Make, candidate: Make) -> None:
    with pytest.raises(InvalidRequest, match="verifier 'facts' holds answers against retrieved documents"):
        await GroundingVerifier("facts").score(task(), [candidate("Vienna")])


@given(answer=st.text(max_size=60), document=st.text(max_size=60))
async def test_scores_are_shares(answer: str, document: str) -> None:
    chat = Chat(messages=())
    asked = Task(chat=chat, documents=(Passage(text=document), Passage(text=answer)))
    judged = Candidate(prompt=Prompt(chat=chat), steps=(answer,), finish="stop")
    (found,) = await GroundingVerifier("facts").score(asked, [judged])
    # What the documents say word for word is grounded.
    assert found.value == (1.0 if answer.strip() else 0.0)
    (other,) = await GroundingVerifier("facts").score(
        Task(chat=chat, documents=(Passage(text=document),)), [judged]
    )
    assert 0 <= other.value <= 1
    assert all(0 <= step <= 1 for step in other.steps)
