"""Servers that come and go while a model is served, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import mull.engines.pool as pool_module
import mull.server.roster as roster_module
from mull.engines.pool import Pool
from mull.engines.remote import RemoteGenerator
from mull.errors import EngineUnavailable
from mull.server.roster import Roster
from mull.server.settings import ConfigurationError, ModelSettings
from mull.types import Chat, Prompt, Sampling

PROMPT = Prompt(chat=Chat(messages=({"role": "user", "content": "hi"},)))


class Upstream:
    """A server that answers with its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        """Of the list of models."""
        self.asked = 0
        """How often for the list of models."""
        self.hold: asyncio.Event | None = None
        app = web.Application()
        for prefix in ("", "/other"):
            app.router.add_get(prefix + "/v1/models", self._models)
            app.router.add_post(prefix + "/v1/chat/completions", self._chat)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/v1"))

    async def _models(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"data": [{"id": "m", "owned_by": "someone"}]}, status=self.status)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if self.hold is not None:
            await self.hold.wait()
        choice = f'{{"index": 0, "delta": {{"content": "{self.name}"}}, "finish_reason": "stop"}}'
        await response.write(f'data: {{"choices": [{choice}]}}\n\ndata: [DONE]\n\n'.encode())
        return response


@pytest.fixture
async def upstreams() -> AsyncIterator[list[Upstream]]:
    found = [Upstream("a"), Upstream("b")]
    for each in found:
        await each.server.start_server()
    yield found
    for each in found:
        await each.server.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FILE", "NAME", "FIRST", "LONGEST"):
        monkeypatch.setattr(roster_module, name, 0.02)
    for name in ("EACH", "SOON"):
        monkeypatch.setattr(pool_module, name, 0.02)


def connect(url: str) -> Any:
    return RemoteGenerator.connect(url, model="m", timeout=5.0)


class Following:
    """A pool that a roster fills."""

    def __init__(self, **model: Any) -> None:
        self.pool = Pool("m")
        self.roster = Roster(self.pool, ModelSettings.model_validate(model), connect)

    async def __aenter__(self) -> Following:
        async with asyncio.timeout(30):
            await self.roster.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.roster.close()
        await self.pool.close()

    async def ask(self) -> str:
        async with aclosing(self.pool.sample(PROMPT, Sampling())) as results:
            return (await anext(results)).text

    @property
    def names(self) -> list[str]:
        return sorted(replica.name for replica in self.pool.replicas if replica.serves)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_search_outlives_a_server(upstreams: list[Upstream]) -> None:
    async with Following(urls=[each.url for each in upstreams]) as model:
        first = await model.ask()
        await next(each for each in upstreams if each.name == first).server.close()
        assert {await model.ask() for _ in range(3)} == {"b" if first == "a" else "a"}
        await until(lambda: len(model.names) == 1)


async def test_one_of_the_servers_may_come_later(upstreams: list[Upstream]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with Following(urls=[upstreams[0].url, f"http://127.0.0.1:{port}/v1"]) as model:
        assert len(model.names) == 1
        late = Upstream("late")
        late.server.port = port
        await late.server.start_server()
        try:
            await until(lambda: len(model.names) == 2)
        finally:
            await late.server.close()


async def test_nobody_there_is_told_at_once(upstreams: list[Upstream]) -> None:
    following = Following(urls=[each.url for each in upstreams])
    for each in upstreams:
        await each.server.close()
    with pytest.raises(EngineUnavailable, match="no connection"):
        await following.roster.open()


async def test_a_file_says_who_there_is(upstreams: list[Upstream], tmp_path: Path) -> None:
    a, b = upstreams
    listed = tmp_path / "servers"
    listed.write_text(f"# servers\n\n{a.url}\n")
    async with Following(urls_file=listed) as model:
        assert await model.ask() == "a"
        listed.write_text(f"{a.url}\n{b.url}\n")
        await until(lambda: len(model.names) == 2)
        listed.write_text(f"{b.url}\n")
        await until(lambda: len(model.pool.replicas) == 1)
        assert await model.ask() == "b"
        # What cannot be read says nothing.
        listed.unlink()
        await asyncio.sleep(0.1)
        assert await model.ask() == "b"
        listed.write_text(f"{a.url}\n")
        await until(lambda: model.names != [] and model.names[0] in a.url)
        assert await model.ask() == "a"


async def test_what_is_wrong_in_the_file_is_passed_over(upstreams: list[Upstream], tmp_path: Path) -> None:
    a, b = upstreams
    listed = tmp_path / "servers"
    listed.write_bytes(f"{a.url}\nhttp://[::1\nhttp://\n".encode())
    async with Following(urls_file=listed) as model:
        assert await model.ask() == "a"
        listed.write_bytes(b"\xff\xfe")
        await asyncio.sleep(0.1)
        listed.write_text(f"{a.url}\n{b.url}\n")
        await until(lambda: len(model.names) == 2)


async def test_a_list_that_flickers_takes_nobody_away(upstreams: list[Upstream], tmp_path: Path) -> None:
    a, _ = upstreams
    held = asyncio.Event()
    listed = tmp_path / "servers"
    listed.write_text(a.url)
    async with Following(urls_file=listed) as model:
        a.hold = held
        asking = asyncio.create_task(model.ask())
        await until(lambda: model.pool.replicas[0].in_flight == 1)
        listed.write_text("")
        await until(lambda: model.pool.replicas[0].draining)
        listed.write_text(a.url)
        await until(lambda: model.pool.replicas[0].serves)
        held.set()
        assert [await asking, await model.ask()] == ["a", "a"]


async def test_a_server_that_refuses_at_first_may_join(upstreams: list[Upstream], tmp_path: Path) -> None:
    a, b = upstreams
    b.status = 400
    listed = tmp_path / "servers"
    listed.write_text(f"{a.url}\n{b.url}\n")
    async with Following(urls_file=listed) as model:
        await until(lambda: b.asked > 1)
        b.status = 200
        await until(lambda: len(model.names) == 2)


async def test_a_drain_in_the_midst_of_a_look_ends_no_looking(
    upstreams: list[Upstream], tmp_path: Path
) -> None:
    a, b = upstreams
    listed = tmp_path / "servers"
    listed.write_text(f"{a.url}\n{b.url}\n")
    async with Following(urls_file=listed) as model:
        await until(lambda: len(model.names) == 2)
        for replica in model.pool.replicas:
            replica.engine.polled = True
        for _ in range(10):
            listed.write_text(f"{a.url}\n")
            await until(lambda: len(model.pool.replicas) == 1)
            listed.write_text(f"{a.url}\n{b.url}\n")
            await until(lambda: len(model.names) == 2)
        a.status = 400  # which is no answer about health
        model.pool.replicas[0].engine.polled = True
        await until(lambda: len(model.names) == 1)
        a.status = 200
        await until(lambda: len(model.names) == 2)


async def test_too_many_requests_is_no_reason_to_be_down(upstreams: list[Upstream]) -> None:
    async with Following(url=upstreams[0].url) as model:
        upstreams[0].status = 429
        for _ in range(5):
            await model.pool.replicas[0].look()
        assert await model.ask() == "a"


async def test_two_paths_of_one_host_are_two_servers(upstreams: list[Upstream]) -> None:
    a, _ = upstreams
    async with Following(urls=[a.url, a.url.replace("/v1", "/other/v1")]) as model:
        assert len(model.names) == 2


async def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    following = Following(urls_file=tmp_path / "none")
    with pytest.raises(ConfigurationError, match="urls_file: "):
        await following.roster.open()


async def test_a_name_is_resolved_again_and_again(
    upstreams: list[Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two addresses of this machine are two servers."""
    port = upstreams[0].server.port
    second = Upstream("second")
    second.server = TestServer(second.server.app, host="127.0.0.2", port=port)
    await second.server.start_server()
    hosts = ["127.0.0.1"]

    async def resolve(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    try:
        async with Following(url=f"http://engines:{port}/v1", discover=True) as model:
            assert await model.ask() == "a"
            hosts.append("127.0.0.2")
            await until(lambda: len(model.names) == 2)
            hosts.remove("127.0.0.1")
            await until(lambda: len(model.pool.replicas) == 1)
            assert await model.ask() == "second"
    finally:
        await second.server.close()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, "give one of path, url, urls and urls_file"),
        ({"path": "x", "url": "http://a"}, "give one of"),
        ({"urls": ["http://a/v1", "http://a"]}, "each address once"),
        ({"urls": ["ftp://a"]}, "should match pattern"),
        ({"url": "https://a", "discover": True}, "certificates are of names"),
        ({"path": "x", "discover": True}, "discover only goes with a url"),
        ({"url": "http://a", "replicas": 2}, "options and replicas only go with path"),
        ({"path": "x", "replicas": 0}, "greater than or equal to 1"),
        ({"path": "x", "served_as": "y"}, "only go with url, urls or urls_file"),
    ],
)
def test_wrong_settings(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSettings.model_validate(model)
