"""A server of unknown make, well-behaved and not."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mull.answers.splitter import split
from mull.engines.remote import NO_ID, UNKNOWN_CONTEXT, RemoteGenerator
from mull.errors import EngineUnavailable, InvalidRequest, Unsupported
from mull.form import Form, Json, Thoughts
from mull.types import Bare, Chat, Completion, Meter, Prompt, Sampling, Usage

KEY = "sk-very-secret"
CHAT = Chat(messages=({"role": "user", "content": "hi"},))
PROMPT = Prompt(chat=CHAT)

Answer = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


class Upstream:
    """An OpenAI-compatible server; a test says how it answers."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = [{"id": "m", "owned_by": "someone"}]
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.refusal: web.Response | None = None
        self.answer: Answer = self.say("Hello", " there")
        self.asked = asyncio.Event()
        """Set when two requests are there."""
        self.tokens: Callable[[dict[str, Any]], list[int]] | None = None
        """The tokens of what is to be tokenised, as vLLM tells them."""
        self.left = asyncio.Event()
        """Set when a client has gone before its answer ended."""
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/tokenize", self._tokenize)
        self.server = TestServer(app)

    def say(self, *pieces: str, finish: str = "stop", **beside: Any) -> Answer:
        """Answer these pieces, as OpenAI does."""

        async def answer(request: web.Request, response: web.StreamResponse) -> None:
            for piece in pieces:
                await response.write(chunk({"delta": {"content": piece}, "finish_reason": None, **beside}))
            await response.write(chunk({"delta": {}, "finish_reason": finish}))
            usage = {
                "prompt_tokens": 7,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4},
            }
            await response.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
            await response.write(b"data: [DONE]\n\n")

        return answer

    def send(self, *parts: bytes, close: bool = True) -> Answer:
        """Answer these bytes."""

        async def answer(request: web.Request, response: web.StreamResponse) -> None:
            for part in parts:
                await response.write(part)
            if not close:
                await asyncio.sleep(60)

        return answer

    async def _list(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        return self.refusal or web.json_response({"data": self.models})

    async def _tokenize(self, request: web.Request) -> web.Response:
        if self.tokens is None:
            return web.Response(status=404)
        return web.json_response({"tokens": self.tokens(await request.json())})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        if len(self.bodies) == 2:
            self.asked.set()
        if self.refusal is not None:
            return self.refusal
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self.answer(request, response)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response


def chunk(choice: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.server.start_server()
    yield upstream
    await upstream.server.close()


@pytest.fixture
async def remote(upstream: Upstream) -> AsyncIterator[RemoteGenerator]:
    remote = await connect(upstream)
    yield remote
    await remote.close()


async def connect(upstream: Upstream, **options: Any) -> RemoteGenerator:
    url = str(upstream.server.make_url("/v1"))
    return await RemoteGenerator.connect(url, **{"model": "m", "api_key": KEY, "timeout": 5.0, **options})


async def sample(
    remote: RemoteGenerator, sampling: Sampling | None = None, prompt: Prompt = PROMPT, **options: Any
) -> list[Completion]:
    async with aclosing(remote.sample(prompt, sampling or Sampling(), **options)) as results:
        return sorted([c async for c in results], key=lambda c: c.index)


async def test_an_answer_with_its_usage(upstream: Upstream, remote: RemoteGenerator) -> None:
    meter = Meter()
    one, two = await sample(remote, n=2, meter=meter)
    usage = Usage(prompt=7, cached=4, completion=5)
    assert one == Completion(text="Hello there", finish="stop", usage=usage)
    assert two.index == 1
    assert (meter.usage, meter.calls) == (usage + usage, 2)


async def test_what_is_asked_of_the_server(upstream: Upstream, remote: RemoteGenerator) -> None:
    sampling = Sampling(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        seed=3,
        logprobs=2,
        extra={"presence_penalty": 1.0, "user": "someone"},
    )
    await sample(remote, sampling, n=2)
    for index, body in enumerate(sorted(upstream.bodies, key=lambda body: int(body["seed"]))):
        assert body == {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
            "seed": 3 + index,
            "logprobs": True,
            "top_logprobs": 2,
            "presence_penalty": 1.0,
            "user": "someone",
        }


async def test_vllm_sends_several_tokens_at_a_time_where_nobody_reads_along(upstream: Upstream) -> None:
    upstream.models = [{"id": "m", "owned_by": "vllm"}]
    remote = await connect(upstream)
    try:
        await sample(remote)
        assert [chunk async for chunk in remote.stream(PROMPT, Sampling())]
    finally:
        await remote.close()
    together, alone = upstream.bodies
    assert together["stream_interval"] > 1
    assert "stream_interval" not in alone


async def test_without_a_limit_the_server_sets_it(upstream: Upstream, remote: RemoteGenerator) -> None:
    assert remote.context == UNKNOWN_CONTEXT
    await sample(remote, Sampling(max_tokens=UNKNOWN_CONTEXT))
    assert "max_tokens" not in upstream.bodies[0]


async def test_the_context_a_server_tells_or_its_user_knows(upstream: Upstream) -> None:
    upstream.models = [{"id": "other"}, {"id": "m", "max_model_len": 4096}]
    for context, expected in ((None, 4096), (2048, 2048)):
        remote = await connect(upstream, context=context)
        assert remote.context == expected
        await remote.close()


async def test_a_stream_in_pieces(upstream: Upstream, remote: RemoteGenerator) -> None:
    async with aclosing(remote.stream(PROMPT, Sampling())) as chunks:
        seen = [chunk async for chunk in chunks]
    assert [chunk.text for chunk in seen] == ["Hello", " there", ""]
    assert seen[-1].completion is not None
    assert seen[-1].completion.text == "Hello there"


async def test_events_cut_anywhere(upstream: Upstream, remote: RemoteGenerator) -> None:
    whole = (
        chunk({"delta": {"content": "é\n"}})
        + b": ping\r\n\r\n"
        + chunk({"delta": {}, "finish_reason": "stop"})
    )
    for size in (1, 2, 7):
        parts = [whole[at : at + size] for at in range(0, len(whole), size)]
        upstream.answer = upstream.send(*parts)
        [completion] = await sample(remote)
        assert completion.text == "é\n"


async def test_the_last_word_may_be_the_finish_reason(upstream: Upstream, remote: RemoteGenerator) -> None:
    upstream.answer = upstream.send(chunk({"delta": {"content": "a"}, "finish_reason": "length"}))
    [completion] = await sample(remote)
    assert (completion.text, completion.finish, completion.usage.completion) == ("a", "length", 1)


async def test_logprobs(upstream: Upstream, remote: RemoteGenerator) -> None:
    tops = [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -2.0}]
    content = [{"token": "a", "logprob": -0.1, "top_logprobs": tops}]
    upstream.answer = upstream.say("a", logprobs={"content": content})
    [completion] = await sample(remote, Sampling(logprobs=2))
    [told] = completion.logprobs
    assert (told.token, told.id, told.logprob) == ("a", NO_ID, -0.1)
    assert told.top == (("a", NO_ID, -0.1), ("b", NO_ID, -2.0))


async def test_closing_drops_the_connection_and_bills_what_came(
    upstream: Upstream, remote: RemoteGenerator
) -> None:
    upstream.answer = upstream.send(*(chunk({"delta": {"content": "a"}}) for _ in range(3)), close=False)
    meter = Meter()
    async with aclosing(remote.stream(PROMPT, Sampling(), meter=meter)) as chunks:
        for _ in range(3):
            await anext(chunks)
    await asyncio.wait_for(upstream.left.wait(), 5)
    assert (meter.usage, meter.calls) == (Usage(completion=3), 1)


async def test_cancelling_drops_the_connection(upstream: Upstream, remote: RemoteGenerator) -> None:
    upstream.answer = upstream.send(close=False)
    meter = Meter()
    task = asyncio.create_task(sample(remote, n=2, meter=meter))
    await asyncio.wait_for(upstream.asked.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(upstream.left.wait(), 5)
    assert meter.calls == 2


async def test_what_it_cannot_do_is_refused(remote: RemoteGenerator) -> None:
    assert not remote.continues
    with pytest.raises(Unsupported, match="continue"):
        await sample(remote, Sampling(step="\n"))
    for bare in (Bare(text="hi"), Bare(text="hi", ids=(1, 2))):
        with pytest.raises(Unsupported, match="conversations only"):
            await remote.render(Chat.of(bare))
    with pytest.raises(Unsupported, match="tokenizer"):
        await remote.spell([1])
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
    with pytest.raises(Unsupported, match="image_url"):
        await remote.render(Chat(messages=(image,)))
    with pytest.raises(InvalidRequest, match="'stream'") as refused:
        await sample(remote, Sampling(extra={"stream": False}))
    assert refused.value.param == "stream"


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
FORM = Form(thoughts=Thoughts(), style="hermes", tools={"add": {"type": "object"}})


def deltas(upstream: Upstream, *found: dict[str, Any], finish: str = "stop") -> Answer:
    """Answer these deltas."""
    return upstream.send(
        *(chunk({"delta": delta, "finish_reason": None}) for delta in found),
        chunk({"delta": {}, "finish_reason": finish}),
        b"data: [DONE]\n\n",
    )


async def test_what_a_server_takes_apart_is_one_text_again(
    upstream: Upstream, remote: RemoteGenerator
) -> None:
    def call(index: int, **function: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "id": "x", "function": function}]}

    upstream.answer = deltas(
        upstream,
        {"reasoning_content": "One"},
        {"reasoning": " and one."},
        {"content": "Let me add."},
        call(0, name="add", arguments=""),
        call(0, arguments='{"a": 1'),
        call(0, arguments="}"),
        call(1, name="add"),
        finish="tool_calls",
    )
    chat = Chat(messages=CHAT.messages, tools=(TOOL,))
    [completion] = await sample(remote, Sampling(form=FORM), prompt=await remote.render(chat))
    assert completion.finish == "stop"
    parts = split(completion.text, FORM)
    assert (parts.reasoning, parts.content, parts.broken) == ("One and one.", "Let me add.", False)
    assert [(c.name, c.arguments) for c in parts.calls] == [("add", '{"a":1}'), ("add", "{}")]
    assert upstream.bodies[-1]["tools"] == [TOOL]
    assert "tool_choice" not in upstream.bodies[-1]


@pytest.mark.parametrize("shows", [True, False])
async def test_a_template_that_hides_tools_is_found_out(upstream: Upstream, shows: bool) -> None:
    upstream.models = [{"id": "m", "owned_by": "vllm", "max_model_len": 64}]
    upstream.tokens = lambda body: [1, 2, 3] if shows and body.get("tools") else [1, 2]
    remote = await connect(upstream)
    chat = Chat(messages=CHAT.messages, tools=(TOOL,))
    try:
        if shows:
            assert (await remote.render(chat)).ids == (1, 2, 3)
        else:
            with pytest.raises(Unsupported, match="does not show tools") as refused:
                await remote.render(chat)
            assert refused.value.param == "tools"
    finally:
        await remote.close()


async def test_what_is_demanded_is_asked_of_the_server(upstream: Upstream, remote: RemoteGenerator) -> None:
    named = Form(tools={"add": {}}, call="add", parallel=False)
    await sample(remote, Sampling(form=named))
    assert upstream.bodies[-1]["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert upstream.bodies[-1]["parallel_tool_calls"] is False
    await sample(remote, Sampling(form=Form(tools={"add": {}}, call=True)))
    assert upstream.bodies[-1]["tool_choice"] == "required"
    await sample(remote, Sampling(form=Form(json=Json())))
    assert upstream.bodies[-1]["response_format"] == {"type": "json_object"}
    await sample(remote, Sampling(form=Form(json=Json(schema={"type": "array"}, name="list", strict=True))))
    about = {"name": "list", "schema": {"type": "array"}, "strict": True}
    assert upstream.bodies[-1]["response_format"] == {"type": "json_schema", "json_schema": about}


async def test_stop_strings_count_in_the_content_only(upstream: Upstream, remote: RemoteGenerator) -> None:
    upstream.answer = upstream.say("<thi", "nk>a;b", "</thin", "k>c", " d;", " e")
    sampling = Sampling(stop=(";",), form=Form(thoughts=Thoughts()))
    [completion] = await sample(remote, sampling)
    assert (completion.text, completion.finish) == ("<think>a;b</think>c d", "stop")
    assert "stop" not in upstream.bodies[-1]
    streamed = [chunk async for chunk in remote.stream(PROMPT, sampling)]
    assert "".join(chunk.text for chunk in streamed) == "<think>a;b</think>c d"
    assert streamed[-1].completion is not None
    assert streamed[-1].completion.finish == "stop"
    begun = replace(PROMPT, text="<think>a</think>")
    assert not remote._watches(begun, sampling), "the engine watches where all is content"


async def test_images_go_to_a_server_that_takes_them(upstream: Upstream) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    chat = Chat(messages=({"role": "user", "content": [picture]},))
    remote = await connect(upstream, images=True)
    try:
        [completion] = await sample(remote, prompt=await remote.render(chat))
        assert completion.text == "Hello there"
        assert upstream.bodies[-1]["messages"][0]["content"] == [picture]
        assert remote.apart
    finally:
        await remote.close()


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_the_callers_fault(upstream: Upstream, remote: RemoteGenerator, status: int) -> None:
    error = {"message": "top_p is too big", "param": "top_p", "code": "out_of_range"}
    upstream.refusal = web.json_response({"error": error}, status=status)
    meter = Meter()
    with pytest.raises(InvalidRequest, match="top_p is too big") as refused:
        await sample(remote, meter=meter)
    assert (refused.value.param, refused.value.code) == ("top_p", "out_of_range")
    assert meter.calls == 0


async def test_a_refusal_without_a_reason(upstream: Upstream, remote: RemoteGenerator) -> None:
    for body in (b"", b"no", b"[]", b'{"error": "no"}'):
        upstream.refusal = web.Response(body=body, status=400)
        with pytest.raises(InvalidRequest, match="refused the request \\(400\\)"):
            await sample(remote)


@pytest.mark.parametrize("status", [204, 301, 401, 403, 404, 429, 500, 503])
async def test_a_fault_between_the_servers(upstream: Upstream, remote: RemoteGenerator, status: int) -> None:
    headers = {"Location": "http://127.0.0.1:9/steal"} if status == 301 else {}
    text = "" if status == 204 else f"bad key {KEY}"
    upstream.refusal = web.Response(text=text, status=status, headers=headers)
    with pytest.raises(EngineUnavailable, match=str(status)) as failed:
        await sample(remote)
    assert KEY not in str(failed.value)
    with pytest.raises(EngineUnavailable):
        await remote.check()


GARBAGE = {
    "nothing": [b""],
    "no finish": [chunk({"delta": {"content": "a"}})],
    "not JSON": [b"data: {nope}\n\n"],
    "truncated JSON": [b'data: {"choices": [{"index": 0, "del'],
    "a list": [b"data: []\n\n"],
    "no choices": [b"data: {}\n\n"],
    "choices of a wrong type": [b'data: {"choices": 3}\n\n'],
    "no delta": [chunk({})],
    "text of a wrong type": [chunk({"delta": {"content": 3}})],
    "usage of a wrong type": [b'data: {"choices": [], "usage": {"prompt_tokens": "x"}}\n\n'],
    "an error": [chunk({"delta": {"content": "a"}}), b'data: {"error": {"message": "x", "code": 500}}\n\n'],
    "HTML": [b"<html>Bad gateway</html>"],
    "not UTF-8": [b'data: {"choices": "\xff"}\n\n'],
}


@pytest.mark.parametrize("parts", GARBAGE.values(), ids=GARBAGE)
async def test_an_answer_that_is_none(
    upstream: Upstream, remote: RemoteGenerator, parts: list[bytes]
) -> None:
    upstream.answer = upstream.send(*parts)
    with pytest.raises(EngineUnavailable, match="model 'm'"):
        await sample(remote)


async def test_an_error_in_an_event_keeps_its_meaning(upstream: Upstream, remote: RemoteGenerator) -> None:
    upstream.answer = upstream.send(b'data: {"error": {"message": "too long", "code": 400}}\n\n')
    with pytest.raises(InvalidRequest, match="too long"):
        await sample(remote)


async def test_a_broken_connection(upstream: Upstream, remote: RemoteGenerator) -> None:
    async def break_off(request: web.Request, response: web.StreamResponse) -> None:
        await response.write(chunk({"delta": {"content": "a"}}))
        assert request.transport is not None
        request.transport.abort()

    upstream.answer = break_off
    meter = Meter()
    with pytest.raises(EngineUnavailable):
        await sample(remote, meter=meter)
    assert (meter.calls, meter.usage.completion) == (1, 1)


async def test_an_answer_that_does_not_end(upstream: Upstream, remote: RemoteGenerator) -> None:
    async def go_on(request: web.Request, response: web.StreamResponse) -> None:
        while True:
            await response.write(chunk({"delta": {"content": "a"}}))

    upstream.answer = go_on
    with pytest.raises(EngineUnavailable, match="does not end"):
        await sample(remote, Sampling(max_tokens=10))
    await asyncio.wait_for(upstream.left.wait(), 5)


async def test_a_line_that_does_not_end(
    upstream: Upstream, remote: RemoteGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mull.engines.connection.MOST_BYTES", 10_000)
    upstream.answer = upstream.send(b"data: " + b"x" * 20_000, close=False)
    with pytest.raises(EngineUnavailable, match="does not end"):
        await sample(remote)


async def test_silence_and_comments_are_no_answer(upstream: Upstream) -> None:
    async def comment(request: web.Request, response: web.StreamResponse) -> None:
        while True:
            await response.write(b": still here\n\n")
            await asyncio.sleep(0.01)

    remote = await connect(upstream, timeout=0.2)
    for answer in (upstream.send(close=False), comment):
        upstream.answer = answer
        with pytest.raises(EngineUnavailable, match="in time"):
            await sample(remote)
    await remote.close()


async def test_a_slow_reader_is_not_the_servers_fault(upstream: Upstream) -> None:
    remote = await connect(upstream, timeout=0.2)
    async with aclosing(remote.stream(PROMPT, Sampling())) as chunks:
        await anext(chunks)
        await asyncio.sleep(0.4)
        assert [chunk.text async for chunk in chunks] == [" there", ""]
    await remote.close()


async def test_a_kept_connection_that_the_server_has_closed() -> None:
    """The request is sent again, once; a server that goes on like this is down."""
    connections = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            body = b'{"data": [{"id": "m"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await reader.read(1)
        elif connections == 2:
            body = chunk({"delta": {"content": "a"}, "finish_reason": "stop"})
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        remote = await RemoteGenerator.connect(f"http://127.0.0.1:{port}", model="m", timeout=5.0)
        [completion] = await sample(remote)
        assert (completion.text, connections) == ("a", 2)
        with pytest.raises(EngineUnavailable):
            await sample(remote)
        assert connections == 4
        await remote.close()


async def test_no_server(upstream: Upstream, remote: RemoteGenerator) -> None:
    url = str(upstream.server.make_url("/"))
    await upstream.server.close()
    with pytest.raises(EngineUnavailable, match="model 'm'") as failed:
        await sample(remote)
    assert "127.0.0.1" not in str(failed.value)
    with pytest.raises(EngineUnavailable):
        await remote.check()
    with pytest.raises(EngineUnavailable):
        await RemoteGenerator.connect(url, model="m")


async def test_a_model_that_the_server_lacks(upstream: Upstream) -> None:
    with pytest.raises(EngineUnavailable, match="'other'"):
        await connect(upstream, model="other")
    nonsense: list[Any] = [{}, [3], "no"]
    for upstream.models in nonsense:
        with pytest.raises(EngineUnavailable, match="does not serve it"):
            await connect(upstream)


async def test_the_key_is_sent_and_never_shown(
    upstream: Upstream, remote: RemoteGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await sample(remote)
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in upstream.headers)
    shown = [repr(remote), repr(vars(remote)), repr(vars(remote._connection)), caplog.text]
    assert all(KEY not in text for text in shown)
