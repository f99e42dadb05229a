"""What a server of a model may answer: always a clean refusal that names the model, never half an answer."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from tests.engines.hostile import STREAM, Hostile, as_json, endless, hostile, raw, reset, stream, whole

from mull.engines.remote import RemoteGenerator
from mull.errors import EngineUnavailable, MullError
from mull.types import Chat, Completion, Meter, Prompt, Sampling, Usage

CHAT = Chat(messages=({"role": "user", "content": "hi"},))
SAMPLING = Sampling(max_tokens=16, logprobs=2)
PATIENCE = 1.0
"""Seconds that the generator waits for the next part of an answer."""


@pytest.fixture(params=[True, False], ids=["vllm", "other"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Hostile]:
    """A server that is spoken to in token ids, and one that gets chats."""
    async with hostile(vllm=request.param) as made:
        yield made


@pytest.fixture
async def remote(server: Hostile) -> AsyncIterator[RemoteGenerator]:
    made = await RemoteGenerator.connect(server.url, model="m", timeout=PATIENCE)
    yield made
    await made.close()


async def sample(remote: RemoteGenerator, meter: Meter, sampling: Sampling = SAMPLING) -> Completion:
    prompt = await remote.render(CHAT)
    assert isinstance(prompt, Prompt)
    async with asyncio.timeout(30), aclosing(remote.sample(prompt, sampling, meter=meter)) as found:
        return await anext(found)


def piece(server: Hostile, text: Any = "a", finish: Any = None, **beside: Any) -> dict[str, Any]:
    """An event with one piece of text, as this server sends it."""
    vllm = server.model["owned_by"] == "vllm"
    said = {"text": text, "token_ids": [7]} if vllm else {"delta": {"content": text}}
    return {"choices": [{"index": 0, "finish_reason": finish, **said, **beside}]}


def usage(completion: Any = 2, prompt: Any = 3, cached: Any = 0) -> dict[str, Any]:
    details = {"cached_tokens": cached}
    return {
        "choices": [],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": details,
        },
    }


def logprobs(server: Hostile, own: Any, top: Any = None, tokens: int = 1) -> dict[str, Any]:
    """The log-probabilities of a piece, as this server sends them."""
    if server.model["owned_by"] == "vllm":
        return {
            "tokens": ["a"] * tokens,
            "token_logprobs": [own] * tokens,
            "top_logprobs": [{"a": own if top is None else top}] * tokens,
        }
    each = {
        "token": "a",
        "logprob": own,
        "top_logprobs": [{"token": "a", "logprob": own if top is None else top}],
    }
    return {"content": [each] * tokens}


async def refused(remote: RemoteGenerator, server: Hostile, within: int = 16) -> EngineUnavailable:
    """The refusal of a request, whose bill is one that can be."""
    meter = Meter()
    with pytest.raises(MullError) as failed:
        await sample(remote, meter)
    error = failed.value
    assert isinstance(error, EngineUnavailable), f"{type(error).__name__}: {error}"
    assert "model 'm'" in error.message
    assert str(server.port) not in error.message
    assert "127.0.0.1" not in error.message
    assert len(error.message) < 500
    assert 0 <= meter.usage.completion <= within
    assert 0 <= meter.usage.cached <= max(meter.usage.prompt, 0)
    assert meter.usage.prompt <= 4096
    return error


DONE = b"[DONE]"

HEADS = {
    "nothing": raw(b""),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half a head": raw(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "a status that is none": raw(b"HTTP/1.1 banana\r\n\r\n"),
    "redirected": raw(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"),
    "redirected for good": raw(b"HTTP/1.1 301 Go\r\nLocation: /v1/models\r\nContent-Length: 0\r\n\r\n"),
    "switching protocols": raw(b"HTTP/1.1 101 Switch\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
    "a long header": raw(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1_000_000 + b"\r\n\r\n"),
    "endless headers": endless(b"HTTP/1.1 200 OK\r\n", b"".join(b"X-%d: a\r\n" % i for i in range(100))),
    "dripping headers": endless(b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n", pause=0.1),
    "a length that is none": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\ndata: {}\n\n"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\ndata: {}\n\n"),
    "less than its length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\ndata: {"),
    "a chunk that is none": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
    "a chunk that is torn": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc"),
    "said to be gzip": raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"),
    "reset at once": reset(),
    "reset after the head": reset(STREAM),
    "an error page": raw(
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 30\r\n\r\n<html>http://127.0.0.1:9</html>"
    ),
    "an endless error": endless(b"HTTP/1.1 500 Oops\r\n\r\n", b"x" * 65536),
    "a plain object": whole({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}),
    "200 with an error": whole({"error": {"message": "see http://127.0.0.1:9", "code": 500}}),
    "comments only": endless(STREAM, b": still here\n\n", pause=0.05),
    "empty lines": endless(STREAM, b"\n" * 1000, pause=0.01),
    "a byte at a time": endless(STREAM, b"d", pause=0.05),
    "a line that does not end": endless(STREAM + b"data: ", b"x" * 2**20),
}


@pytest.mark.parametrize("answer", HEADS.values(), ids=HEADS)
async def test_no_answer(
    server: Hostile, remote: RemoteGenerator, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mull.engines.connection.MOST_BYTES", 2**22)
    server.answer = answer
    await refused(remote, server)


DEEP = b"[" * 200_000

EVENTS: dict[str, Any] = {
    "truncated JSON": lambda s: [json.dumps(piece(s))[:-9].encode()],
    "deep JSON": lambda s: [b'{"choices": ' + DEEP],
    "deep closed JSON": lambda s: [b'{"choices": ' + DEEP + DEEP.replace(b"[", b"]") + b"}"],
    "a number of many digits": lambda s: [b'{"choices": ' + b"9" * 10_000 + b"}"],
    "invalid UTF-8": lambda s: [
        b'{"choices": [{"index": 0, "text": "\xff\xfe", "delta": {"content": "\xff"}}]}'
    ],
    "a string": lambda s: [b'"choices"'],
    "null": lambda s: [b"null"],
    "choices that are null": lambda s: [{"choices": None}],
    "choices that are an object": lambda s: [{"choices": {"0": {}}}],
    "a choice that is null": lambda s: [{"choices": [None]}],
    "a choice without text": lambda s: [{"choices": [{"index": 0}]}],
    "text that is a number": lambda s: [piece(s, 3), piece(s, "", "stop")],
    "text that is a list": lambda s: [piece(s, ["a"]), piece(s, "", "stop")],
    "a reason that is a number": lambda s: [piece(s, "a", 1)],
    "a reason that is a list": lambda s: [piece(s, "a", ["stop"])],
    "a reason that is true": lambda s: [piece(s, "a", True)],
    "aborted": lambda s: [piece(s, "a", "abort")],
    "failed": lambda s: [piece(s, "a", "error")],
    "no reason": lambda s: [piece(s), usage(1), DONE],
    "no reason and no end": lambda s: [piece(s), piece(s)],
    "two choices in one": lambda s: [
        {"choices": piece(s)["choices"] + piece(s, "b", index=1)["choices"]},
        piece(s, "", "stop"),
        DONE,
    ],
    "another choice": lambda s: [piece(s, "b", index=3), piece(s, "", "stop", index=3), DONE],
    "more text after its end": lambda s: [piece(s, "a", "stop"), piece(s, "b"), DONE],
    "two ends": lambda s: [piece(s, "a", "stop"), piece(s, "b", "length"), DONE],
    "an error after its end": lambda s: [piece(s, "a", "stop"), {"error": {"message": "no", "code": 500}}],
    "usage of a negative answer": lambda s: [piece(s, "a", "stop"), usage(-5), DONE],
    "usage of a negative prompt": lambda s: [piece(s, "a", "stop"), usage(1, -5), DONE],
    "usage of a negative cache": lambda s: [piece(s, "a", "stop"), usage(1, 3, -2), DONE],
    "more cached than asked": lambda s: [piece(s, "a", "stop"), usage(1, 3, 4000), DONE],
    "usage beyond the context": lambda s: [piece(s, "a", "stop"), usage(10**12), DONE],
    "a prompt beyond all contexts": lambda s: [piece(s, "a", "stop"), usage(1, 10**12), DONE],
    "usage that is no number": lambda s: [
        json.dumps(piece(s, "a", "stop")).encode(),
        b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": NaN}}',
    ],
    "usage that is infinite": lambda s: [
        json.dumps(piece(s, "a", "stop")).encode(),
        b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1e999}}',
    ],
    "usage that is a fraction": lambda s: [piece(s, "a", "stop"), usage(1.5), DONE],
    "usage that is text": lambda s: [piece(s, "a", "stop"), usage("1"), DONE],
    "usage that is true": lambda s: [piece(s, "a", "stop"), usage(True), DONE],
    "usage that is a list": lambda s: [piece(s, "a", "stop"), {"choices": [], "usage": [1, 2]}, DONE],
    "a log-probability that is no number": lambda s: [
        piece(s, "a", "stop", logprobs=logprobs(s, float("nan"))),
        DONE,
    ],
    "an alternative that is no number": lambda s: [
        piece(s, "a", "stop", logprobs=logprobs(s, -1.0, float("nan"))),
        DONE,
    ],
    "an infinite log-probability": lambda s: [
        piece(s, "a", "stop", logprobs=logprobs(s, float("inf"))),
        DONE,
    ],
    "a log-probability that is text": lambda s: [piece(s, "a", "stop", logprobs=logprobs(s, "-1")), DONE],
    "a log-probability that is null": lambda s: [piece(s, "a", "stop", logprobs=logprobs(s, None)), DONE],
    "log-probabilities that are a list": lambda s: [piece(s, "a", "stop", logprobs=[1]), DONE],
}

TOKENS: dict[str, Any] = {
    "too few log-probabilities": [
        {"index": 0, "text": "ab", "token_ids": [7, 8], "logprobs": 1, "finish_reason": "stop"}
    ],
    "too many log-probabilities": [
        {"index": 0, "text": "a", "token_ids": [7], "logprobs": 3, "finish_reason": "stop"}
    ],
    "a negative token": [{"index": 0, "text": "a", "token_ids": [-7], "finish_reason": "stop"}],
    "a token that is none": [{"index": 0, "text": "a", "token_ids": [2**40], "finish_reason": "stop"}],
    "a token that is text": [{"index": 0, "text": "a", "token_ids": ["7"], "finish_reason": "stop"}],
    "a token that is a fraction": [{"index": 0, "text": "a", "token_ids": [7.5], "finish_reason": "stop"}],
    "tokens that are a number": [{"index": 0, "text": "a", "token_ids": 7, "finish_reason": "stop"}],
    "more tokens than asked": [
        {"index": 0, "text": "a", "token_ids": [7] * 5000, "finish_reason": "stop"},
    ],
}


@pytest.mark.parametrize("events", EVENTS.values(), ids=EVENTS)
async def test_an_answer_that_makes_no_sense(server: Hostile, remote: RemoteGenerator, events: Any) -> None:
    server.answer = stream(*as_json(events(server)))
    await refused(remote, server)


@pytest.mark.parametrize("server", [True], indirect=True, ids=["vllm"])
@pytest.mark.parametrize("choices", TOKENS.values(), ids=TOKENS)
async def test_tokens_that_make_no_sense(
    server: Hostile, remote: RemoteGenerator, choices: list[dict[str, Any]]
) -> None:
    told = [
        choice
        | ({"logprobs": logprobs(server, -1.0, tokens=choice["logprobs"])} if "logprobs" in choice else {})
        for choice in choices
    ]
    server.answer = stream(*as_json([{"choices": told}, DONE]))
    await refused(remote, server)


async def test_what_comes_after_done_is_not_read(server: Hostile, remote: RemoteGenerator) -> None:
    after = [piece(server, "b"), {"error": {"message": "no", "code": 500}}, b"\xff", usage(4000)]
    server.answer = stream(*as_json([piece(server, "a", "stop"), usage(1), DONE, *after]))
    meter = Meter()
    completion = await sample(remote, meter, Sampling(max_tokens=16))
    assert (completion.text, meter.usage) == ("a", Usage(prompt=3, completion=1))


async def test_tokens_that_came_are_billed_whatever_is_told(server: Hostile, remote: RemoteGenerator) -> None:
    """A server that names its tokens cannot say that there were fewer."""
    server.answer = stream(*as_json([piece(server, "ab"), piece(server, "c", "stop"), usage(0), DONE]))
    meter = Meter()
    completion = await sample(remote, meter, Sampling(max_tokens=16))
    assert completion.text == "abc"
    assert meter.usage.completion == (2 if remote.continues else 0)


async def test_a_bomb(server: Hostile, remote: RemoteGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A little that becomes much when it is unpacked: given up long before it is."""
    monkeypatch.setattr("mull.engines.connection.MOST_BYTES", 2**20)
    bomb = gzip.compress(b"data: " + b"\0" * 2**28)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    server.answer = raw(head, bomb)
    await refused(remote, server)


async def test_a_stream_of_large_pieces_ends(
    server: Hostile, remote: RemoteGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few pieces may be much text: all of an answer counts, not only its longest line."""
    monkeypatch.setattr("mull.engines.connection.MOST_STREAMED", 2**20, raising=False)
    server.answer = endless(STREAM, b"data: " + json.dumps(piece(server, "a" * 2**18)).encode() + b"\n\n")
    error = await refused(remote, server, within=100)
    assert "end" in error.message


async def test_a_refusal_is_passed_on_in_few_words(server: Hostile, remote: RemoteGenerator) -> None:
    body = json.dumps({"error": {"message": "x" * 2**20, "param": "y" * 2**20, "code": "z" * 2**20}}).encode()
    server.answer = raw(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % len(body), body)
    with pytest.raises(MullError) as failed:
        await sample(remote, Meter())
    assert len(failed.value.message) + len(failed.value.param or "") + len(failed.value.code) < 5000


MODELS: dict[str, Any] = {
    "a negative context": -4096,
    "no context": 0,
    "a context that is text": "4096",
    "a context that is true": True,
}


@pytest.mark.parametrize("told", MODELS.values(), ids=MODELS)
async def test_a_context_that_is_none(told: Any) -> None:
    async with hostile() as server:
        server.model["max_model_len"] = told
        remote = await RemoteGenerator.connect(server.url, model="m", timeout=PATIENCE)
        assert remote.context >= 4096
        await remote.close()
