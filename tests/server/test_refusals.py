"""What is wrong is refused by name, with what would be right; nothing is lost and nothing crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

ASK: Any = [{"role": "user", "content": "What is one plus one?"}]
USER = {"role": "user"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}

CASES: list[tuple[dict[str, Any], str, str]] = [
    # the body, the parameter to blame, a part of what is said to be allowed
    ({"messages": []}, "messages", "a non-empty list"),
    ({"messages": "hello"}, "messages", "a non-empty list"),
    ({"messages": None}, "messages", "required"),
    ({"messages": ["hello"]}, "messages[0]", "an object"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "required"),
    ({"messages": [USER]}, "messages[0].content", "a string"),
    ({"messages": [{**USER, "content": []}]}, "messages[0].content", "non-empty"),
    ({"messages": [{**USER, "content": 3}]}, "messages[0].content", "a string"),
    ({"messages": [{**USER, "content": [PICTURE]}]}, "messages[0].content", "'image_url'"),
    ({"messages": [{**USER, "content": [{"type": "text", "text": 3}]}]}, "messages[0].content", "part 0"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "'assistant', 'developer'"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "'tool'"),
    ({"messages": [{**USER, "content": "x", "colour": "red"}]}, "messages[0].colour", "role"),
    ({"messages": [{**USER, "content": "w" * 300}]}, "messages", "the context 256"),
    ({"model": 3}, "model", "a non-empty string"),
    ({"model": None}, "model", "required"),
    ({"temperature": "hot"}, "temperature", "a number from 0 to 2"),
    ({"temperature": -0.1}, "temperature", "a number from 0 to 2"),
    ({"temperature": 2.1}, "temperature", "a number from 0 to 2"),
    ({"temperature": True}, "temperature", "a number from 0 to 2"),
    ({"top_p": 0}, "top_p", "above 0 and of at most 1"),
    ({"top_k": -2}, "top_k", "an integer from -1"),
    ({"top_k": 1.5}, "top_k", "an integer"),
    ({"min_p": 1.5}, "min_p", "a number from 0 to 1"),
    ({"max_tokens": 0}, "max_tokens", "an integer from 1"),
    ({"max_tokens": "9"}, "max_tokens", "an integer from 1"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens", "give one of them"),
    ({"n": 0}, "n", "an integer from 1"),
    ({"n": 500}, "n", "an integer from 1 to 128"),
    ({"n": 4, "ttc": {"strategy": "best_of_n", "n": 2}}, "n", "at most ttc.n"),
    ({"stop": [""]}, "stop[0]", "a non-empty string"),
    ({"stop": ["x"] * 17}, "stop", "a list of at most 16"),
    ({"stop": 3}, "stop", "a list"),
    ({"seed": "x"}, "seed", "an integer"),
    ({"seed": 10**30}, "seed", "an integer"),
    ({"logprobs": 1}, "logprobs", "true or false"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "an integer from 0 to 20"),
    ({"top_logprobs": 2}, "top_logprobs", "logprobs: true"),
    ({"frequency_penalty": 3}, "frequency_penalty", "a number from -2 to 2"),
    ({"logit_bias": {"a": 1}}, "logit_bias", "not a token id"),
    ({"logit_bias": {"7": 101}}, "logit_bias.7", "a number from -100 to 100"),
    ({"min_tokens": 9, "max_tokens": 5}, "min_tokens", "max_tokens"),
    ({"reasoning_effort": "extreme"}, "reasoning_effort", "'high', 'low'"),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "required"),
    ({"tool_choice": "required"}, "tool_choice", "'none'"),
    ({"response_format": {"type": "json"}}, "response_format.type", "'text'"),
    ({"modalities": ["text", "audio"]}, "modalities", "['text']"),
    ({"audio": {"voice": "alloy"}}, "audio", "leave it out"),
    ({"store": True}, "store", "False"),
    ({"echo": True}, "echo", "False"),
    ({"use_beam_search": True}, "use_beam_search", "beam_search"),
    ({"temprature": 1}, "temprature", "temperature"),
    ({"ttc": "beam_search"}, "ttc", "an object"),
    ({"ttc": {"strategy": "alchemy"}}, "ttc.strategy", "beam_search, best_first"),
    ({"ttc": {"strategy": 3}}, "ttc.strategy", "a string"),
    ({"ttc": {"strategy": "best_of_n", "n": 0}}, "ttc.n", "an integer from 1 to 1024"),
    ({"ttc": {"strategy": "best_of_n", "n": 5000}}, "ttc.n", "an integer from 1 to 1024"),
    ({"ttc": {"strategy": "best_of_n", "n": "8"}}, "ttc.n", "an integer from 1 to 1024"),
    ({"ttc": {"strategy": "best_of_n", "n": True}}, "ttc.n", "an integer from 1 to 1024"),
    (
        {"ttc": {"strategy": "best_of_n", "aggregate": "max"}},
        "ttc.aggregate",
        "'last', 'mean', 'min' or 'product'",
    ),
    ({"ttc": {"strategy": "best_of_n", "width": 3}}, "ttc.width", "aggregate"),
    ({"ttc": {"width": 3}}, "ttc.width", "strategy"),
    ({"ttc": {"strategy": "beam_search", "width": 0}}, "ttc.width", "an integer from 1 to 128"),
    ({"ttc": {"strategy": "beam_search", "delimiter": ""}}, "ttc.delimiter", "a non-empty string"),
    ({"ttc": {"strategy": "beam_search", "verifier": "orm"}}, "ttc.verifier", "use prm"),
    ({"ttc": {"strategy": "best_of_n", "verifier": "oracle"}}, "ttc.verifier", "orm or prm"),
    ({"ttc": {"strategy": "majority_vote", "verifier": "orm"}}, "ttc.verifier", "leave it out"),
    ({"ttc": {"budget": {"tokens": 0}}}, "ttc.budget.tokens", "an integer of at least 1"),
    ({"ttc": {"budget": {"seconds": 0}}}, "ttc.budget.seconds", "a number above 0"),
    ({"ttc": {"budget": {"hours": 1}}}, "ttc.budget.hours", "samples, seconds or tokens"),
    ({"ttc": {"budget": 5}}, "ttc.budget", "an object"),
    ({"ttc": {"include": ["everything"]}}, "ttc.include[0]", "'candidates' or 'trace'"),
    ({"ttc": {"include": "trace"}}, "ttc.include", "a list"),
    ({"ttc": {"answer": "guess"}}, "ttc.answer", "boxed"),
    ({"temperature": 0, "ttc": {"strategy": "majority_vote"}}, "temperature", "above 0"),
    ({"min_tokens": 5, "ttc": {"strategy": "beam_search"}}, "min_tokens", "leave it out"),
    ({"presence_penalty": 1, "ttc": {"strategy": "beam_search"}}, "presence_penalty", "leave it out"),
]

ABOUT_STREAMS: list[tuple[dict[str, Any], str, str]] = [
    ({"stream": "yes"}, "stream", "true or false"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
    ({"stream": True, "stream_options": {"other": True}}, "stream_options.other", "include_usage"),
    ({"ttc": {"progress": True}}, "ttc.progress", "stream: true"),
]
REQUESTS = [*CASES, *ABOUT_STREAMS, *(({"stream": True, **body}, *rest) for body, *rest in CASES)]


@pytest.mark.parametrize(
    ("body", "param", "allowed"), REQUESTS, ids=[f"{r[1]}-{i}" for i, r in enumerate(REQUESTS)]
)
def test_bad_fields_are_named(live: Live, body: dict[str, Any], param: str, allowed: str) -> None:
    response = live.post(**body)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param in error["message"] or "context" in error["message"]
    assert allowed in error["message"]


@pytest.mark.parametrize("name", ["gpt-4", "mull-tiny+", "mull-tiny+alchemy", "mull-tiny+single+single"])
def test_unknown_models_are_not_found(live: Live, name: str) -> None:
    response = live.http.post("/v1/chat/completions", json={"model": name, "messages": ASK})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert "mull-tiny" in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"model": "mull-tiny", "seed": NaN}',
        b'{"model": "mull-tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 100_000,
        b'{"a":' * 50 + b"1" + b"}" * 50,
    ],
    ids=["empty", "cut", "list", "string", "encoding", "nan", "surrogate", "abyss", "deep"],
)
def test_bodies_that_are_no_sound_json_are_refused(live: Live, body: bytes) -> None:
    response = live.http.post(
        "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_json"


def test_bodies_too_large_are_refused(start: Start) -> None:
    with start(limits={"request_bytes": 2000}) as live:
        big = {"model": "mull-tiny", "messages": [{"role": "user", "content": "x" * 3000}]}
        response = live.http.post("/v1/chat/completions", json=big)
        assert response.status_code == 413
        assert "2000" in response.json()["error"]["message"]


def test_bodies_must_be_sent_as_json(live: Live) -> None:
    response = live.http.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", []),
        ("tool_choice", "auto"),
        ("response_format", {"type": "text"}),
        ("modalities", ["text"]),
        ("store", False),
        ("service_tier", "auto"),
        ("user", "someone"),
        ("metadata", {"a": "b"}),
        ("prompt_cache_key", "k"),
        ("temperature", None),
        ("audio", None),
        ("ttc", {}),
        ("ttc", {"strategy": None, "budget": None}),
        ("ttc", {"budget": {"tokens": None}}),
    ],
)
def test_harmless_values_are_accepted(live: Live, field: str, value: Any) -> None:
    request = {"model": "mull-tiny", "messages": ASK, field: value}
    response = live.http.post("/v1/chat/completions", json=request)
    assert response.status_code == 200, response.text


def test_an_engine_that_cannot_continue_names_what_works(start: Start, scripted: Any) -> None:
    with start(script=scripted(continues=False)) as live:
        request = {"model": "mull-tiny", "messages": ASK, "ttc": {"strategy": "beam_search"}}
        error = live.http.post("/v1/chat/completions", json=request).json()["error"]
        names = [m["id"] for m in live.http.get("/v1/models").json()["data"]]
    assert error["param"] == "ttc.strategy"
    assert "majority_vote" in error["message"]
    assert "mcts" not in error["message"]
    assert "mull-tiny+best_of_n" in names
    assert not {"mull-tiny+beam_search", "mull-tiny+careful"} & set(names)


def test_budgets_stay_below_the_configured_limits(start: Start) -> None:
    with start(limits={"tokens": 40, "n": 2}) as live:
        over = live.post(ttc={"budget": {"tokens": 41}})
        many = live.post(n=3)
        within = live.post(max_tokens=30, ttc={"strategy": "majority_vote", "n": 5})
    assert (over.status_code, over.json()["error"]["param"]) == (400, "ttc.budget.tokens")
    assert "at most 40" in over.json()["error"]["message"]
    assert (many.status_code, many.json()["error"]["param"]) == (400, "n")
    assert within.json()["ttc"]["budget"]["tokens"] == 40
    assert within.json()["usage"]["completion_tokens"] <= 40
