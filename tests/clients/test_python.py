"""The Python client against a real server."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import openai
import pytest

from mull.errors import EngineUnavailable
from mull_client import (
    AsyncMull,
    BeamSearch,
    BestOfN,
    Budget,
    Cascade,
    CoT,
    Event,
    Finished,
    MajorityVote,
    Mull,
    Result,
    Searched,
    Single,
    Started,
    Strategy,
    Text,
)

if TYPE_CHECKING:
    from tests.server.conftest import Fixed, Live

QUESTION = "What is one plus one?"
BEAM = BeamSearch(width=2, expand=2)

Start = Callable[..., AbstractContextManager[Any]]


def test_an_answer_comes_with_how_it_was_found(client: Mull) -> None:
    result = client.ask(
        QUESTION,
        strategy=BestOfN(n=5),
        verifier="orm",
        budget=Budget(tokens=900, samples=40),
        include=["candidates", "trace"],
        seed=3,
    )
    ttc = result.ttc
    assert result.text == "One and one\n\\boxed{2}"
    assert result.completion.choices[0].message.content == result.text
    assert (ttc.strategy, ttc.verifier, ttc.answer, ttc.score) == ("best_of_n", "orm", "2", 0.9)
    assert ttc.parameters["n"] == 5
    assert ttc.budget == {"tokens": 900, "seconds": None, "samples": 40}
    assert ttc.stopped == "complete"
    assert [candidate.answer for candidate in ttc.candidates] == ["2", "2", "3", "3", "3"]
    assert ttc.candidates[0].text == result.text
    assert len(ttc.tree) == 6
    assert sorted(node.score or 0 for node in ttc.tree.children()) == [0.4, 0.4, 0.4, 0.9, 0.9]
    assert result.completion.usage is not None
    assert result.completion.usage.completion_tokens == sum(node.tokens for node in ttc.trace)


def test_the_way_to_an_answer_can_be_followed(client: Mull) -> None:
    ttc = client.ask(QUESTION, strategy=BEAM, include=["candidates", "trace"]).ttc
    path = ttc.tree.path(ttc.candidates[0].node)
    assert path[0].kind == "root"
    assert "".join(node.text for node in path) == ttc.candidates[0].text
    assert all(later in ttc.tree.children(former.id) for former, later in itertools.pairwise(path))


def test_what_is_not_asked_for_is_empty(client: Mull) -> None:
    ttc = client.ask(QUESTION).ttc
    assert ttc.strategy == "single"
    assert ttc.candidates == []
    assert len(ttc.tree) == 0


def check_events(events: list[Event], whole: Result) -> None:
    """A stream says what the answer to the same request says."""
    started, *between, finished = events
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    nodes, text = {}, ""
    for event in between:
        match event:
            case Searched(node):
                nodes[node.id] = node
            case Text(delta, choice):
                assert choice == 0
                text += delta
            case Started() | Finished():
                pytest.fail("they begin and end the stream")
            case _:
                assert_never(event)
    result = finished.result
    assert text == result.text == whole.text
    assert started.plan.trace_id == result.ttc.trace_id
    assert started.plan.parameters == result.ttc.parameters == whole.ttc.parameters
    assert result.ttc.tree == nodes
    assert len(nodes) == len(whole.ttc.tree) - 1, "the root is no event"
    assert result.completion.usage == whole.completion.usage
    assert result.completion.choices[0].finish_reason == "stop"
    assert (result.ttc.answer, result.ttc.score) == (whole.ttc.answer, whole.ttc.score)
    assert [(c.answer, c.score) for c in result.ttc.candidates] == [
        (c.answer, c.score) for c in whole.ttc.candidates
    ]


@pytest.mark.parametrize("strategy", [BEAM, BestOfN(n=4), Single()], ids=lambda s: s["strategy"])
def test_a_stream_tells_the_search_and_the_answer(client: Mull, strategy: Strategy) -> None:
    whole = client.ask(QUESTION, strategy=strategy, include=["candidates", "trace"], seed=1)
    check_events(list(client.stream(QUESTION, strategy=strategy, include=["candidates"], seed=1)), whole)


async def test_asynchronously(live: Live) -> None:
    async with AsyncMull(base_url=f"{live.url}/v1") as client:
        whole = await client.ask(QUESTION, strategy=BEAM, include=["candidates", "trace"], seed=1)
        stream = client.stream(QUESTION, strategy=BEAM, include=["candidates"], seed=1)
        check_events([event async for event in stream], whole)
        assert "beam_search" in [card["name"] for card in await client.strategies()]
        assert {card["name"] for card in await client.verifiers()} == {"orm", "prm"}
        with pytest.raises(openai.BadRequestError, match=r"traces\.dir"):
            await client.feedback(whole.ttc.trace_id, right=True)
        with pytest.raises(openai.APIStatusError):
            await client.trace(whole.ttc.trace_id)


def test_several_choices_are_streamed_apart(client: Mull) -> None:
    events = list(client.stream(QUESTION, strategy=BestOfN(n=5), n=2))
    texts = ["".join(e.delta for e in events if isinstance(e, Text) and e.choice == i) for i in (0, 1)]
    assert isinstance(events[-1], Finished)
    assert texts == [choice.message.content for choice in events[-1].result.completion.choices]
    assert len(set(texts)) == 2


def test_a_conversation_and_fields_that_the_sdk_does_not_know(live: Live, client: Mull) -> None:
    result = client.ask(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}],
        extra_body={"top_k": 5, "ttc": {"include": ["candidates"]}},
        strategy="majority_vote",
        extra_headers={"X-Mine": "yes"},
    )
    assert [message["role"] for message in live.script.chats[-1].messages] == ["system", "user"]
    assert result.ttc.strategy == "majority_vote"
    assert len(result.ttc.candidates) == 16


def test_strategies_nest_with_parts_of_the_budget(client: Mull) -> None:
    inner = MajorityVote(n=3)
    result = client.ask(QUESTION, strategy=CoT(inner=inner | {"budget": Budget(share=0.5)}))
    assert result.ttc.parameters["inner"] == {
        "strategy": "majority_vote",
        "n": 3,
        "budget": {"share": 0.5},
    }
    stages = [{"inner": inner, "at_least": 0.9}, {"inner": Single(), "at_least": 0}]
    asked = Cascade(stages=stages)
    assert client.ask(QUESTION, strategy=asked).ttc.parameters["stages"][0]["inner"] == dict(inner)
    assert json.loads(json.dumps(asked)) == asked


def test_only_what_is_given_is_sent() -> None:
    assert BestOfN() == {"strategy": "best_of_n"}
    assert BestOfN(n=3) == Strategy("best_of_n", n=3) == {"strategy": "best_of_n", "n": 3}
    assert BeamSearch(step_tokens=None) == {"strategy": "beam_search", "step_tokens": None}


def test_the_rest_of_the_sdk_works(client: Mull) -> None:
    done = client.chat.completions.create(
        model="mull-tiny", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in done) == "One and one\n\\boxed{2}"
    other = client.with_options(max_retries=0, api_key="other")
    assert isinstance(other, Mull)
    assert other.api_key == "other"
    assert other.ask(QUESTION, model="mull-tiny+majority_vote").ttc.strategy == "majority_vote"


def test_errors_are_the_sdks(live: Live, client: Mull) -> None:
    with pytest.raises(openai.BadRequestError, match=r"ttc\.n") as refused:
        client.ask(QUESTION, strategy=BestOfN(n=0))
    assert refused.value.param == "ttc.n"
    with pytest.raises(openai.NotFoundError):
        list(client.stream(QUESTION, model="missing"))
    with pytest.raises(openai.APIConnectionError):
        Mull(base_url="http://127.0.0.1:1/v1", max_retries=0).ask(QUESTION)


def test_a_failure_in_mid_stream_is_raised(start: Start, scripted: type[Fixed]) -> None:
    script = scripted()
    with start(script=script) as live, Mull(base_url=f"{live.url}/v1", max_retries=0) as client:
        script.fail, script.fail_after_turns = EngineUnavailable("the engine broke"), 4
        with pytest.raises(openai.APIError, match="the engine broke"):
            list(client.stream(QUESTION, strategy=BEAM))


def test_an_answer_of_another_server_is_refused(client: Mull) -> None:
    completion = client.ask(QUESTION).completion
    assert completion.model_extra is not None
    del completion.model_extra["ttc"]
    with pytest.raises(openai.OpenAIError, match="mull"):
        Result.of(completion)


def test_closing_a_stream_cancels_the_search(start: Start, scripted: type[Fixed]) -> None:
    script = scripted()
    with start(script=script) as live, Mull(base_url=f"{live.url}/v1") as client:
        script.hold.clear()
        with closing(client.stream(QUESTION, strategy=BEAM)) as events:
            assert isinstance(next(events), Started)
        cancelled(live)


async def test_closing_an_asynchronous_stream_cancels_the_search(start: Start, scripted: type[Fixed]) -> None:
    script = scripted()
    with start(script=script) as live:
        script.hold.clear()
        async with AsyncMull(base_url=f"{live.url}/v1") as client:
            async with aclosing(client.stream(QUESTION, strategy=BEAM)) as events:
                assert isinstance(await anext(events), Started)
            cancelled(live)


def cancelled(live: Live) -> None:
    """Wait until the server has counted a cancelled request."""
    deadline = time.monotonic() + 20
    while 'status="499"' not in live.http.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_feedback_and_traces(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_ADMIN_KEY", "sesame")
    with start(traces={"dir": tmp_path}) as live, Mull(base_url=f"{live.url}/v1") as client:
        name = client.ask(QUESTION, strategy=BestOfN(n=3)).ttc.trace_id
        assert client.feedback(name, right=True, comment="yes") is True
        assert client.feedback(name, right=True, comment="yes") is False
        found = client.with_options(api_key="sesame").trace(name)
        assert found["strategy"] == "best_of_n"
        assert found["feedback"][0]["comment"] == "yes"


def test_the_server_is_found_in_the_environment(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_URL", f"{live.url}/v1")
    monkeypatch.setenv("MULL_API_KEY", "mine")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with Mull() as client:
        assert client.api_key == "mine"
        assert client.models.list().data[0].id == "mull-tiny"
