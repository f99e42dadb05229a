"""What a worker may answer: scores that are some, or a clean refusal that names the verifier."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from tests.engines.hostile import STREAM, Answer, Hostile, endless, hostile, raw, reset, whole

from mull.errors import InvalidRequest, VerifierUnavailable
from mull.verifiers.remote import RemoteVerifier

Make = Callable[..., Any]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Hostile]:
    async with hostile() as made:
        yield made


def scores(*found: Any, kind: str = "outcome", **beside: Any) -> dict[str, Any]:
    return {"verifier": "v", "kind": kind, "scores": list(found), **beside}


def said(body: bytes, head: bytes = b"HTTP/1.1 200 OK") -> Answer:
    return raw(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body), body)


ONE = {"value": 0.5}
DEEP = b"[" * 200_000

ANSWERS: dict[str, Answer] = {
    "nothing": raw(b""),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half a head": raw(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "endless headers": endless(b"HTTP/1.1 200 OK\r\n", b"".join(b"X-%d: a\r\n" % i for i in range(100))),
    "dripping headers": endless(b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n", pause=0.1),
    "less than its length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"),
    "reset at once": reset(),
    "reset after the head": reset(STREAM),
    "redirected": said(b"", b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/"),
    "an error page": said(b"<html>", b"HTTP/1.1 502 Bad Gateway"),
    "an endless answer": endless(STREAM + b'{"verifier": "', b"x" * 2**20),
    "an endless error": endless(b"HTTP/1.1 500 Oops\r\n\r\n", b"x" * 2**20),
    "a slow drip": endless(STREAM + b'{"verifier": "', b"x", pause=0.05),
    "said to be gzip": said(b"nope", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip"),
    "truncated JSON": said(json.dumps(scores(ONE)).encode()[:-5]),
    "deep JSON": said(DEEP),
    "invalid UTF-8": said(b'{"verifier": "\xff", "kind": "outcome", "scores": [{"value": 0.5}]}'),
    "a list": whole([ONE]),
    "200 with an error": whole({"error": {"message": "no", "code": 500}}),
    "no scores": whole(scores()),
    "a score too many": whole(scores(ONE, ONE)),
    "a score that is null": whole(scores({"value": None})),
    "a score that is text": whole(scores({"value": "high"})),
    "a score that is a list": whole(scores({"value": [0.5]})),
    "a score that is no number": said(b'{"verifier": "v", "kind": "outcome", "scores": [{"value": NaN}]}'),
    "an infinite score": said(b'{"verifier": "v", "kind": "outcome", "scores": [{"value": 1e999}]}'),
    "a step that is no number": said(
        b'{"verifier": "v", "kind": "outcome", "scores": [{"value": 0.5, "steps": [NaN]}]}'
    ),
    "negative tokens": whole(scores({"value": 0.5, "tokens": -5})),
    "tokens beyond all contexts": whole(scores({"value": 0.5, "tokens": 10**15})),
    "a fraction of a token": whole(scores({"value": 0.5, "tokens": 1.5})),
    "another kind": whole(scores(ONE, kind="process")),
    "a kind that is none": whole(scores(ONE, kind="fun")),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_no_scores(
    server: Hostile, task: Make, candidate: Make, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mull.verifiers.remote.MOST_BYTES", 2**22, raising=False)
    server.answer = answer
    remote = RemoteVerifier("far", [server.url], kind="outcome", timeout=1.0)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(VerifierUnavailable) as failed:
                await remote.score(task(), [candidate("5")])
    finally:
        await remote.close()
    error = failed.value
    assert error.name == "far"
    assert "'far'" in error.message
    assert str(server.port) not in error.message
    assert "127.0.0.1" not in error.message
    assert len(error.message) < 500


@pytest.mark.parametrize("endless_", [b"x" * 2**20, None], ids=["endless", "bomb"])
async def test_what_does_not_end_is_given_up_before_the_time_is(
    server: Hostile, task: Make, candidate: Make, endless_: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mull.verifiers.remote.MOST_BYTES", 2**20, raising=False)
    bomb = gzip.compress(b" " * 2**28)
    packed = said(bomb, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip")
    server.answer = packed if endless_ is None else endless(STREAM, endless_)
    remote = RemoteVerifier("far", [server.url], kind="outcome", timeout=60.0)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(VerifierUnavailable, match="does not end"):
                await remote.score(task(), [candidate("5")])
    finally:
        await remote.close()


async def test_another_worker_takes_over_from_one_that_talks_nonsense(task: Make, candidate: Make) -> None:
    async with hostile() as bad, hostile() as good:
        bad.answer, good.answer = ANSWERS["a score that is no number"], whole(scores({"value": 0.25}))
        remote = RemoteVerifier("far", [bad.url, good.url], kind="outcome", timeout=5.0)
        # Which worker a conversation belongs to depends on their ports: of so many, one is the bad one's.
        for number in range(64):
            (score,) = await remote.score(task(f"What is {number} + 3?"), [candidate("5")])
            assert score.value == 0.25
        assert (bad.asked, good.asked) == (1, 64)
        await remote.close()


async def test_a_refusal_is_passed_on_in_few_words(server: Hostile, task: Make, candidate: Make) -> None:
    body = json.dumps({"error": {"message": "x" * 2**20, "param": ["y"], "code": {"z": 1}}}).encode()
    server.answer = said(body, b"HTTP/1.1 400 Bad")
    remote = RemoteVerifier("far", [server.url], kind="outcome", timeout=5.0)
    with pytest.raises(InvalidRequest) as failed:
        await remote.score(task(), [candidate("5")])
    assert len(failed.value.message) < 5000
    assert failed.value.param is None
    assert failed.value.code == "invalid_value"
    await remote.close()
