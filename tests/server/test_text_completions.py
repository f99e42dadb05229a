"""POST /v1/completions, as the stock SDK sees it."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openai import APIError, BadRequestError

from mull.errors import EngineUnavailable

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

BEST = "One and one\n\\boxed{2}"
SECOND = "One plus one\n\\boxed{3}"


def ask(live: Live, **body: Any) -> Any:
    """A completion, with room for a whole answer."""
    extra = {"extra_body": {"ttc": body.pop("ttc")}} if "ttc" in body else {}
    given = {"model": "mull-tiny", "prompt": "1 + 1 =", "max_tokens": 60}
    return live.client.completions.create(**{**given, **body, **extra})


def test_a_prompt_reaches_the_engine_without_the_chat_template(start: Start) -> None:
    with start() as live:
        done = ask(live)
        usage = live.script.usage
    assert done.object == "text_completion"
    assert done.id.startswith("cmpl-")
    assert [c.text for c in done.choices] == [BEST]
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].logprobs is None
    assert done.usage.prompt_tokens == usage.prompt == len("1 + 1 =")
    assert done.ttc["strategy"] == "single"
    assert done.ttc["answer"] == "2"


def test_sixteen_tokens_come_where_no_limit_is_given(live: Live) -> None:
    done = live.client.completions.create(model="mull-tiny", prompt="1 + 1 =")
    assert done.usage is not None
    assert done.usage.completion_tokens == 16
    assert done.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [
        ({"strategy": "majority_vote", "n": 5}, "3"),
        ({"strategy": "best_of_n", "n": 5}, "2"),
        ({"strategy": "beam_search", "width": 2, "expand": 5}, "2"),
        ({"strategy": "cot", "inner": {"strategy": "single"}}, "2"),
    ],
)
def test_strategies_choose_the_completion(live: Live, strategy: dict[str, Any], answer: str) -> None:
    done = ask(live, ttc=strategy)
    assert done.ttc["answer"] == answer
    assert f"\\boxed{{{answer}}}" in done.choices[0].text
    assert done.ttc["strategy"] == strategy["strategy"]


def test_a_models_alias_and_the_effort_choose_too(start: Start) -> None:
    with start(efforts={"high": "best_of_n"}) as live:
        assert ask(live, model="mull-tiny+majority_vote").ttc["strategy"] == "majority_vote"
        high = live.client.completions.create(
            model="mull-tiny", prompt="x", max_tokens=60, extra_body={"reasoning_effort": "high"}
        )
    assert high.model_extra is not None
    assert high.model_extra["ttc"]["strategy"] == "best_of_n"


def test_each_prompt_of_a_list_is_solved_by_itself(start: Start) -> None:
    with start() as live:
        done = ask(live, prompt=["1 + 1 =", "2 - 1 ="], ttc={"strategy": "best_of_n", "n": 4}, n=2)
        spent = live.script.usage
    assert {c.index // 2 for c in done.choices} == {0, 1}
    assert [c.index for c in done.choices] == sorted(c.index for c in done.choices)
    assert [ttc["strategy"] for ttc in done.ttc] == ["best_of_n"] * 2
    assert len({ttc["trace_id"] for ttc in done.ttc}) == 2
    assert done.usage.completion_tokens == spent.completion
    assert done.usage.prompt_tokens == spent.prompt
    details = done.usage.completion_tokens_details
    assert 0 < details.reasoning_tokens < done.usage.completion_tokens


@pytest.mark.parametrize("prompt", [[104, 105], [[104, 105], [104]]])
def test_prompts_can_be_token_ids(start: Start, prompt: Any) -> None:
    with start() as live:
        done = ask(live, prompt=prompt, echo=True)
    echoed = ["hi", "h"] if isinstance(prompt[0], list) else ["hi"]
    for text, choice in zip(echoed, done.choices, strict=True):
        assert choice.text.startswith(text + "One")
    assert done.usage.prompt_tokens == sum(map(len, echoed))


def test_echo_puts_the_prompt_before_every_choice(live: Live) -> None:
    done = ask(live, echo=True, n=2, ttc={"strategy": "best_of_n", "n": 3})
    assert len(done.choices) == 2
    assert all(c.text.startswith("1 + 1 =One") for c in done.choices)


def test_logprobs_have_the_older_shape(live: Live) -> None:
    logprobs = ask(live, logprobs=2).choices[0].logprobs
    assert "".join(logprobs.tokens) == BEST
    assert logprobs.token_logprobs[0] == -0.1
    assert logprobs.top_logprobs[0] == {"O": -0.1, "b": -1.1}
    assert logprobs.text_offset[:3] == [0, 1, 2]
    assert ask(live, logprobs=0).choices[0].logprobs.top_logprobs[0] == {"O": -0.1}


def test_settings_reach_the_engine(start: Start) -> None:
    with start() as live:
        live.client.completions.create(
            model="mull-tiny",
            prompt="x",
            max_tokens=20,
            temperature=0.7,
            top_p=0.9,
            stop=["\n"],
            seed=3,
            frequency_penalty=0.5,
            logit_bias={"7": -5},
            best_of=1,
            user="someone",
            extra_body={"top_k": 5, "min_p": 0.1, "ignore_eos": True},
        )
        sampling = live.script.seen[0]
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.7, 0.9, 5, 0.1)
    assert (sampling.max_tokens, sampling.stop) == (20, ("\n",))
    assert sampling.extra == {"frequency_penalty": 0.5, "logit_bias": {7: -5.0}, "ignore_eos": True}


# -- streaming --------------------------------------------------------------------------------------------


def test_a_stream_tells_the_same_as_the_whole_answer(live: Live) -> None:
    chunks = list(ask(live, stream=True, logprobs=1, stream_options={"include_usage": True}))
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert "".join(c.text for chunk in chunks for c in chunk.choices) == BEST
    offsets = [at for chunk in chunks for c in chunk.choices if c.logprobs for at in c.logprobs.text_offset]
    assert offsets[: len(BEST)] == list(range(len(BEST)))
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]
    assert chunks[-2].ttc["answer"] == "2"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == len(BEST) + 1


def test_several_prompts_stream_side_by_side(live: Live) -> None:
    prompts = ["1 + 1 =", "2 - 1 ="]
    chunks = list(
        ask(
            live,
            prompt=prompts,
            n=2,
            echo=True,
            stream=True,
            stream_options={"include_usage": True},
            ttc={"strategy": "best_of_n", "n": 4},
        )
    )
    texts = dict.fromkeys(range(4), "")
    ends = []
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            ends += [choice.index] if choice.finish_reason else []
    assert sorted(ends) == [0, 1, 2, 3]
    for index, text in texts.items():
        assert text.startswith(prompts[index // 2] + "One")
    assert len([chunk for chunk in chunks if getattr(chunk, "ttc", None)]) == 2
    assert [chunk.usage is not None for chunk in chunks].count(True) == 1


def test_nodes_are_told_on_request(live: Live) -> None:
    ttc = {"strategy": "best_of_n", "n": 3, "progress": "nodes"}
    chunks = list(ask(live, stream=True, ttc=ttc))
    told = [chunk.ttc for chunk in chunks if getattr(chunk, "ttc", None)]
    assert told[0]["strategy"] == "best_of_n"
    assert {each["node"]["id"] for each in told if "node" in each} == {1, 2, 3}


def test_the_first_prompt_that_fails_ends_the_stream(start: Start, scripted: Any) -> None:
    script = scripted()
    with start(script=script) as live:
        script.fail, script.fail_after_turns = EngineUnavailable("the scripted engine is gone"), 30
        with pytest.raises(APIError, match="gone"):
            list(ask(live, prompt=["a", "b", "c"], stream=True, ttc={"strategy": "single"}))
        assert script.in_flight == 0


def test_a_client_that_leaves_takes_all_its_prompts_with_it(start: Start) -> None:
    body = {"model": "mull-tiny", "prompt": ["a", "b", "c"], "max_tokens": 60, "stream": True}
    with start(heartbeat=60) as live:
        live.script.hold.clear()
        with live.http.stream("POST", "/v1/completions", json=body) as reply:
            assert reply.status_code == 200
            assert live.script.in_flight > 0
        deadline = time.monotonic() + 10
        while live.script.in_flight and time.monotonic() < deadline:
            time.sleep(0.005)
        assert live.script.in_flight == 0


def test_a_stopping_server_ends_the_stream_once(start: Start) -> None:
    body = {"model": "mull-tiny", "prompt": ["a", "b"], "max_tokens": 60, "stream": True}
    told: list[str] = []
    with start() as live:
        live.script.hold.clear()
        # The lines are read in a thread of their own, which ends with the stream.
        opened = threading.Event()

        def listen() -> None:
            with httpx.stream("POST", f"{live.url}/v1/completions", json=body, timeout=20) as reply:
                opened.set()
                told.extend(reply.iter_lines())

        listener = threading.Thread(target=listen)
        listener.start()
        assert opened.wait(20)
    listener.join(20)
    text = "\n".join(told)
    assert text.count('"code":"shutting_down"') == text.count("[DONE]") == 1


def test_the_first_prompt_that_fails_ends_the_others(start: Start, scripted: Any) -> None:
    script = scripted()
    with start(script=script) as live:
        script.fail, script.fail_after_turns = EngineUnavailable("the scripted engine is gone"), 1
        reply = live.http.post(
            "/v1/completions", json={"model": "mull-tiny", "prompt": ["a", "b"], "max_tokens": 60}
        )
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "engine_unavailable"
        assert script.in_flight == 0


def test_a_wrong_prompt_among_several_is_a_400_also_in_a_stream(live: Live) -> None:
    with pytest.raises(BadRequestError) as refused:
        ask(live, prompt=["fine", "x" * 300], stream=True)
    assert refused.value.param == "prompt"
    assert refused.value.code == "context_length_exceeded"


# -- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"prompt": []}, "prompt", "list of token ids"),
        ({"prompt": ["a", [1]]}, "prompt", "list of token ids"),
        ({"prompt": [True]}, "prompt", "list of token ids"),
        ({"prompt": {"text": "x"}}, "prompt", "must be a string"),
        ({"best_of": 4}, "best_of", "best_of_n"),
        ({"suffix": "end"}, "suffix", "at the end"),
        ({"echo": True, "logprobs": 1}, "echo", "log-probabilities"),
        ({"logprobs": True}, "logprobs", "an integer from 0 to 20"),
        ({"logprobs": 21}, "logprobs", "an integer from 0 to 20"),
        ({"messages": []}, "messages", "unknown field"),
        ({"stream_options": {}}, "stream_options", "stream: true"),
        ({"ttc": {"progress": "nodes"}}, "ttc.progress", "stream: true"),
        ({"stream": True, "ttc": {"progress": True}}, "ttc.progress", "nodes"),
        ({"min_tokens": 30, "max_tokens": 10}, "min_tokens", "max_tokens"),
        ({"n": 300}, "n", "from 1 to 128"),
        ({"prompt": ["x"] * 129}, "prompt", "at most 128"),
        ({"ttc": {"strategy": "luck"}}, "ttc.strategy", "known are"),
        ({"max_tokens": 0}, "max_tokens", "from 1 to"),
    ],
)
def test_what_is_wrong_is_named(live: Live, body: dict[str, Any], param: str, says: str) -> None:
    reply = live.http.post("/v1/completions", json={"model": "mull-tiny", "prompt": "x"} | body)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] == param
    assert says in error["message"]


def test_a_prompt_is_required(live: Live) -> None:
    reply = live.http.post("/v1/completions", json={"model": "mull-tiny"})
    assert reply.json()["error"]["message"] == "prompt is required"


def test_a_null_counts_as_absent(live: Live) -> None:
    body = {"model": "mull-tiny", "prompt": "x", "suffix": None, "best_of": None, "logprobs": None}
    assert live.http.post("/v1/completions", json=body).status_code == 200


def test_the_openapi_document_shows_the_body(live: Live) -> None:
    operation = live.http.get("/openapi.json").json()["paths"]["/v1/completions"]["post"]
    shown = operation["requestBody"]["content"]["application/json"]["schema"]
    assert {"prompt", "echo", "ttc"} <= shown["properties"].keys()
    assert "$ref" not in json.dumps(shown)
