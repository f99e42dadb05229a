"""The openai SDK's clients, with what a mull server adds."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from typing import Any, TypeAlias, Unpack, cast
from urllib.parse import quote

from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from mull_client.events import Event, Reading
from mull_client.options import Options, Question, request
from mull_client.results import Result

Json: TypeAlias = dict[str, Any]


def _server(options: Json) -> Json:
    """The constructor's options; a server on this machine and no key where nothing is said."""
    url = options.pop("base_url", None) or os.environ.get("MULL_URL") or "http://127.0.0.1:8000/v1"
    key = options.pop("api_key", None) or os.environ.get("MULL_API_KEY") or "none"
    return {"base_url": url, "api_key": key, **options}


class Mull(OpenAI):
    """`openai.OpenAI`, with MULL_URL and MULL_API_KEY as defaults; all methods raise the SDK's exceptions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**_server(options))

    def ask(self, question: Question, **options: Unpack[Options]) -> Result:
        """The answer to a question or conversation."""
        asked = {"model": self._model(options), **request(question, options)}
        return Result.of(cast(ChatCompletion, self.chat.completions.create(**asked)))

    def stream(self, question: Question, **options: Unpack[Options]) -> Generator[Event, None, None]:
        """The search as it goes, and the answer; closing the iterator cancels the search."""
        asked = {"model": self._model(options), **request(question, options, stream=True)}
        reading = Reading()
        with cast(Stream[ChatCompletionChunk], self.chat.completions.create(**asked)) as chunks:
            for chunk in chunks:
                yield from reading.events(chunk)
        yield reading.end()

    def strategies(self) -> list[Json]:
        """The server's strategies: parameters as JSON Schema, what they need, where they work."""
        return cast(list[Json], self._call("strategies")["data"])

    def verifiers(self) -> list[Json]:
        """The server's verifiers and whether they answer."""
        return cast(list[Json], self._call("verifiers")["data"])

    def trace(self, trace_id: str) -> Json:
        """A finished request with its search; may want another key: `with_options(api_key=...)`."""
        return self._call(f"traces/{quote(trace_id, safe='')}")

    def feedback(self, trace_id: str, **said: Any) -> bool:
        """Say `right`, `reference`, `rating` or `comment` of an answer or a `node`; False if not news."""
        told = self.post("/ttc/feedback", body={"trace_id": trace_id, **said}, cast_to=object)
        return bool(cast(Json, told)["new"])

    def _call(self, path: str) -> Json:
        return cast(Json, self.get(f"/ttc/{path}", cast_to=object))

    def _model(self, options: Options) -> str:
        return options.get("model") or self.models.list().data[0].id


class AsyncMull(AsyncOpenAI):
    """`openai.AsyncOpenAI`; all is as in `Mull`, to be awaited."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**_server(options))

    async def ask(self, question: Question, **options: Unpack[Options]) -> Result:
        asked = {"model": await self._model(options), **request(question, options)}
        return Result.of(cast(ChatCompletion, await self.chat.completions.create(**asked)))

    async def stream(self, question: Question, **options: Unpack[Options]) -> AsyncGenerator[Event, None]:
        asked = {"model": await self._model(options), **request(question, options, stream=True)}
        reading, opened = Reading(), await self.chat.completions.create(**asked)
        async with cast(AsyncStream[ChatCompletionChunk], opened) as chunks:
            async for chunk in chunks:
                for event in reading.events(chunk):
                    yield event
        yield reading.end()

    async def strategies(self) -> list[Json]:
        return cast(list[Json], (await self._call("strategies"))["data"])

    async def verifiers(self) -> list[Json]:
        return cast(list[Json], (await self._call("verifiers"))["data"])

    async def trace(self, trace_id: str) -> Json:
        return await self._call(f"traces/{quote(trace_id, safe='')}")

    async def feedback(self, trace_id: str, **said: Any) -> bool:
        told = await self.post("/ttc/feedback", body={"trace_id": trace_id, **said}, cast_to=object)
        return bool(cast(Json, told)["new"])

    async def _call(self, path: str) -> Json:
        return cast(Json, await self.get(f"/ttc/{path}", cast_to=object))

    async def _model(self, options: Options) -> str:
        return options.get("model") or (await self.models.list()).data[0].id
