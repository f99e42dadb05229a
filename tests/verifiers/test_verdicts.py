"""Verdict tokens: what is asked, how often, and what is made of the replies; test_models has the replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mull.errors import InvalidRequest
from mull.types import Passage
from mull.verifiers.formats import TokenLogprobs
from mull.verifiers.reading import Reader
from mull.verifiers.verdicts import GenerativeVerifier, TokenLogprobsVerifier

Make = Callable[..., Any]


class Judge:
    """An engine that finds a prompt good by its length."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.asked: list[str] = []

    async def verdict(self, ids: Sequence[int], good: int, bad: int) -> tuple[float, int]:
        self.asked.append(self.tokenizer.decode(ids))
        return 1 / len(ids), len(ids)


@pytest.fixture
def judge(byte_level: Any) -> Judge:
    return Judge(byte_level)


@pytest.fixture
def reader(byte_level: Any) -> Reader:
    return Reader(byte_level, limit=256)


async def test_each_distinct_step_is_asked_once(
    judge: Any, reader: Reader, task: Make, candidate: Make
) -> None:
    layout = TokenLogprobs(type="token_logprobs", good="+", bad="-")
    verifier = TokenLogprobsVerifier("prm", judge, reader, format=layout)
    left, right, copy = await verifier.score(
        task("q"), [candidate("a\nb\n"), candidate("a\nc"), candidate("a\nb\n")]
    )
    opening = "<bos><|user|>q<eos><|assistant|>"
    assert judge.asked == [opening + "a\n", opening + "a\nb\n", opening + "a\nc"]
    assert left.steps == copy.steps
    assert left.steps[0] == right.steps[0]
    assert (left.value, copy.tokens) == (min(left.steps), 0)
    assert left.tokens > right.tokens > 0
    (again,) = await verifier.score(task("q"), [candidate("a\nc")])
    assert (again.steps, again.tokens, len(judge.asked)) == (right.steps, 0, 3)


async def test_a_generative_verifier_asks_after_each_step_or_once(
    judge: Any, reader: Reader, task: Make, candidate: Make
) -> None:
    settings: dict[str, Any] = {
        "prompt": "{question}|{answer}|{step}|{other}",
        "lead": "So: ",
        "good": " Yes",
        "bad": " No",
    }
    each = GenerativeVerifier("judge", judge, reader, each="step", **settings)
    whole = GenerativeVerifier("judge", judge, reader, each="answer", **settings)
    (steps,) = await each.score(task("{step}?"), [candidate("a\n{answer}\n")])
    (once,) = await whole.score(task("{step}?"), [candidate("a\n{answer}\n")])
    tail = "|{other}<eos><|assistant|>So: "
    assert judge.asked == [
        "<bos><|user|>{step}?|a|a" + tail,
        "<bos><|user|>{step}?|a\n{answer}|{answer}" + tail,
        "<bos><|user|>{step}?|a\n{answer}|{answer}" + tail,
    ]
    assert (each.kind, len(steps.steps)) == ("process", 2)
    assert (whole.kind, once.steps) == ("outcome", ())


async def test_retrieved_documents_can_be_part_of_the_question(
    judge: Any, reader: Reader, task: Make, candidate: Make
) -> None:
    verifier = GenerativeVerifier(
        "facts", judge, reader, prompt="{documents}|{answer}", good=" Yes", bad=" No"
    )
    documents = (Passage(text="{answer} a\n"), Passage(text="b"))
    await verifier.score(task(documents=documents), [candidate("5")])
    await verifier.score(task(documents=documents[1:]), [candidate("5")])
    tail = "|5<eos><|assistant|>"
    assert judge.asked == ["<bos><|user|>[1] {answer} a\n\n[2] b" + tail, "<bos><|user|>[1] b" + tail]
    with pytest.raises(InvalidRequest, match="verifier 'facts' holds answers against retrieved documents"):
        await verifier.score(task(), [candidate("5")])


async def test_what_is_empty_or_too_long_is_not_asked(
    judge: Any, reader: Reader, task: Make, candidate: Make
) -> None:
    verifier = GenerativeVerifier("judge", judge, reader, each="step", good=" Yes", bad=" No")
    empty, long, good = await verifier.score(
        task(), [candidate("\n"), candidate("a\n" + "5 " * 300), candidate("a")]
    )
    assert [(s.value, s.steps, s.tokens) for s in (empty, long)] == [(0, (), 0)] * 2
    assert good.value > 0
    assert len(judge.asked) == 1


def test_a_verdict_of_several_tokens_is_refused(judge: Any, reader: Reader) -> None:
    with pytest.raises(ValueError, match="not one"):
        GenerativeVerifier("judge", judge, reader, good="certainly", bad=" No")
