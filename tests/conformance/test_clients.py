"""Clients that know nothing of mull get from it what they get from any OpenAI endpoint."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.conformance.conftest import HERE, QUESTION, Clients
from tests.server.conftest import Fixed, Start

from mull.errors import EngineUnavailable
from mull.types import Chat, Prompt

pytestmark = pytest.mark.slow


def node(clients: Clients, url: str) -> Any:
    code = (HERE / "scripts" / "openai_sdk.mjs").read_text()
    return json.loads(clients.node(code, url, QUESTION))


def latest_openai(clients: Clients, url: str) -> Any:
    """The version that mull's own tests have; the clients' environment has the one that LiteLLM wants."""
    return json.loads(clients.run([sys.executable, HERE / "scripts" / "openai_sdk.py", url, QUESTION]))


ASK: Mapping[str, Callable[[Clients, str], Any]] = {
    "openai": lambda clients, url: clients.python("openai_sdk.py", url, QUESTION),
    "openai-latest": latest_openai,
    "openai-node": node,
    "langchain": lambda clients, url: clients.python("langchain_chat.py", url, QUESTION),
    "litellm": lambda clients, url: clients.python("litellm_completion.py", url, QUESTION),
}


@pytest.mark.parametrize("client", ASK)
def test_it_asks_streams_and_is_refused_by_name(
    clients: Clients, package: object, url: str, client: str
) -> None:
    seen = ASK[client](clients, url)
    assert "\\boxed{" in seen["whole"]
    assert seen["streamed"] == seen["async"] == seen["whole"]
    assert "ttc.n" in seen["refused"]
    # Four samples, of which one is shown.
    assert seen["tokens"] > len(seen["whole"].split())
    assert seen.get("streamed_tokens", seen["tokens"]) == seen["tokens"]
    assert seen.get("samples", 4) == 4
    if "models" in seen:
        assert {"mull-tiny", "mull-tiny+best_of_n"} <= set(seen["models"])


class Breaking(Fixed):
    """A model whose engine is gone in the middle of every answer."""

    async def render(self, chat: Chat) -> Prompt:
        self.fail, self.fail_after_turns = EngineUnavailable("the engine is gone"), 5
        return await super().render(chat)


def test_broken_streams_and_wrong_keys_are_errors(clients: Clients, start: Start) -> None:
    with start(script=Breaking()) as breaking, start(api_keys=["secret"]) as guarded:
        seen = clients.python("troubled.py", f"{breaking.url}/v1", f"{guarded.url}/v1")
    assert seen.keys() == {"openai", "langchain", "lite"}
    for heard in seen.values():
        assert heard["broken"]["pieces"] > 0
        assert "the engine is gone" in heard["broken"]["message"]
        assert "AuthenticationError" in heard["wrong key"]["error"]
        assert heard["right key"]["error"] is None
        assert heard["right key"]["pieces"] > 2


CALL = '<tool_call>{"name": "Add", "arguments": {"a": 1, "b": 1}}</tool_call>'
ADDED = {"a": 1, "b": 1}


def test_langchain_calls_tools_and_gets_structured_output(clients: Clients, start: Start) -> None:
    with start(script=Fixed([CALL])) as calling, start(script=Fixed([json.dumps(ADDED)])) as writing:
        seen = clients.python("langchain_tools.py", f"{calling.url}/v1", f"{writing.url}/v1")
    assert seen == {
        "called": [["Add", ADDED]],
        "streamed": [["Add", ADDED]],
        "after": [ADDED],
        "forced": ADDED,
        "json_schema": ADDED,
        "json_mode": ADDED,
    }
