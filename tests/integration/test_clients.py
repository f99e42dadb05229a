"""The Python client and the terminal on a real server over real vLLM."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from mull_client import AsyncMull, BeamSearch, BestOfN, Budget, Finished, Mull, Searched, Started, Text

if TYPE_CHECKING:
    from tests.integration.conftest import Server

pytestmark = pytest.mark.slow

BEAM = BeamSearch(width=2, expand=2)


@pytest.fixture
def client(server: Server) -> Iterator[Mull]:
    with Mull(base_url=f"{server.url}/v1", max_retries=0, timeout=600) as client:
        yield client


def test_the_client_asks_and_gets_the_search(client: Mull, ask: Any) -> None:
    options: Any = {"include": ["candidates", "trace"], "temperature": 0.2, "seed": 1}
    result = client.ask(ask, strategy=BestOfN(n=4), budget=Budget(tokens=2000), **options)
    assert "\\boxed{" in result.text
    assert result.ttc.answer
    assert result.ttc.budget["tokens"] == 2000
    assert len(result.ttc.candidates) == 4
    best = result.ttc.tree.path(result.ttc.candidates[0].node)
    assert "".join(node.text for node in best) == result.text
    usage = result.completion.usage
    assert usage is not None
    assert usage.completion_tokens == sum(node.tokens for node in result.ttc.trace) > 0


async def test_a_search_is_streamed_as_it_goes(server: Server, ask: Any) -> None:
    async with AsyncMull(base_url=f"{server.url}/v1", max_retries=0, timeout=600) as client:
        stream = client.stream(ask, strategy=BEAM, verifier="solver", seed=1)
        started, *between, finished = [event async for event in stream]
    assert isinstance(started, Started)
    assert started.plan.verifier == "solver"
    assert isinstance(finished, Finished)
    assert "".join(event.delta for event in between if isinstance(event, Text)) == finished.result.text
    scores = [event.node.score for event in between if isinstance(event, Searched)]
    assert any(score is not None for score in scores)


def mull(*arguments: object) -> str:
    line = [sys.executable, "-c", "from mull.server.cli import main; main()", *map(str, arguments)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def test_the_terminal_shows_the_search_and_the_server(server: Server, ask: Any) -> None:
    url = ("--url", f"{server.url}/v1")
    asked = ("ask", ask[0]["content"], "--strategy", "beam_search", "--param", "width=2", "--seed", 1)
    text = mull(*asked, "--tree", "--live", *url)
    assert text.startswith("beam_search\n")
    assert "← answer" in text
    picture = json.loads(mull("top", "--once", "--json", "--interval", 0.1, *url))
    assert picture["ready"] is True
    told = picture["engines"]["mull-tiny"]
    assert told.keys() == {"requests", "replicas", "up", "running", "waiting", "cache"}
    assert (told["replicas"], told["up"]) == (1, 1)
    assert picture["generated"] > 0
    assert mull("models", *url) == "mull-tiny\n"
