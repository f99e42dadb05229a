"""The client of the workers, over real HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI

from mull.engines.routing import choose, root_of
from mull.errors import InvalidRequest, VerifierUnavailable
from mull.types import Chat, Passage, Task
from mull.verifiers.remote import RemoteVerifier
from mull.verifiers.worker import create_app

Make = Callable[..., Any]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def ask(task: Make, candidate: Make) -> Make:
    async def score(remote: RemoteVerifier, question: str = "2 + 3?", *texts: str) -> list[float]:
        scores = await remote.score(task(question), [candidate(text) for text in texts or ("5",)])
        return [score.value for score in scores]

    return score


@dataclass
class Worker:
    name: str
    in_flight: int = 0


@pytest_asyncio.fixture
async def workers(scripted: Make, serving: Make) -> AsyncIterator[list[tuple[str, Any]]]:
    """Two workers: their addresses and their verifiers; the usual question is at home at the first."""
    async with AsyncExitStack() as stack:
        verifiers = [scripted(), scripted()]
        urls = [await stack.enter_async_context(serving(create_app(v, tokenizer="abc"))) for v in verifiers]
        chat = Chat(messages=({"role": "user", "content": "2 + 3?"},))
        home = choose([Worker(url) for url in urls], root_of(chat))
        found = list(zip(urls, verifiers, strict=True))
        yield sorted(found, key=lambda worker: worker[0] != home.name)


@pytest_asyncio.fixture
async def remote(workers: list[tuple[str, Any]]) -> AsyncIterator[RemoteVerifier]:
    remote = RemoteVerifier("far", [url for url, _ in workers], kind="process", tokenizer="abc")
    yield remote
    await remote.close()


async def test_documents_travel(
    remote: RemoteVerifier, workers: list[tuple[str, Any]], task: Make, candidate: Make
) -> None:
    documents = (Passage(text="2 + 3 is 5.", id="sums", score=1.5, data={"page": 1}), Passage(text="more"))
    await remote.score(task(documents=documents), [candidate("5")])
    ((seen, _),) = [each for _, verifier in workers for each in verifier.seen]
    assert seen.documents == (Passage(text="2 + 3 is 5.", id="sums"), Passage(text="more"))


async def test_scores_are_those_of_the_worker(remote: RemoteVerifier, task: Make, candidate: Make) -> None:
    first, second = await remote.score(task(), [candidate("5"), candidate("555")])
    assert (first.value, first.steps, first.tokens, first.known) == (0.5, (0.5, 0.25), 1, True)
    assert second.value == 0.25
    assert await remote.score(task(), []) == []


async def test_the_task_arrives_as_it_was_sent(
    remote: RemoteVerifier, workers: list[tuple[str, Any]], candidate: Make
) -> None:
    chat = Chat(
        messages=({"role": "user", "content": "2 + 3?"},),
        tools=({"type": "function"},),
        template={"level": 2},
    )
    sent = Task(chat=chat, reference="5", answer="boxed")
    await remote.score(sent, [candidate("5", "length"), candidate("", None)])
    ((arrived, (cut, root)),) = [each for _, verifier in workers for each in verifier.seen]
    assert (arrived.chat, arrived.reference, arrived.answer) == (chat, "5", "boxed")
    assert (cut.finish, root.finish) == ("length", "step")


async def test_ids_are_sent_once_the_workers_tokenizer_is_known_to_be_ours(
    remote: RemoteVerifier, workers: list[tuple[str, Any]], task: Make, candidate: Make
) -> None:
    for _ in range(2):
        await remote.score(task(), [candidate("5", ids=(7, 8))])
    seen = [each for _, verifier in workers for each in verifier.seen]
    assert [candidates[0].prompt.ids for _, candidates in seen] == [None, (7, 8)]


async def test_conversations_are_spread_and_stay(
    remote: RemoteVerifier, workers: list[tuple[str, Any]], ask: Make
) -> None:
    for _ in range(3):
        for question in range(20):
            await ask(remote, str(question))
    questions = [[task.chat.question for task, _ in verifier.seen] for _, verifier in workers]
    first, second = map(set, questions)
    # One of them has all twenty once in half a million runs.
    assert first
    assert second
    assert not first & second
    assert sum(map(len, questions)) == 60


@pytest.mark.parametrize("error", [VerifierUnavailable("overloaded", name="scripted"), RuntimeError("bug")])
async def test_another_worker_takes_over(
    remote: RemoteVerifier, workers: list[tuple[str, Any]], ask: Make, error: Exception
) -> None:
    workers[0][1].error = error
    assert await ask(remote) == [0.5]
    assert [len(verifier.seen) for _, verifier in workers] == [1, 1]
    assert await ask(remote) == [0.5]
    assert [len(verifier.seen) for _, verifier in workers] == [1, 2], "the failed worker was not left to rest"


async def test_a_rested_worker_is_asked_again(workers: list[tuple[str, Any]], ask: Make) -> None:
    now = 0.0
    remote = RemoteVerifier("far", [url for url, _ in workers], kind="process", clock=lambda: now)
    workers[0][1].error = VerifierUnavailable("overloaded", name="scripted")
    await ask(remote)
    workers[0][1].error = None
    now = 60.0
    await ask(remote)
    assert [len(verifier.seen) for _, verifier in workers] == [2, 1]
    await remote.close()


async def test_when_all_fail_the_verifier_is_named_and_every_reason_given(
    remote: RemoteVerifier, workers: list[tuple[str, Any]], ask: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for _, verifier in workers:
        verifier.error = VerifierUnavailable("overloaded", name="scripted")
    with pytest.raises(VerifierUnavailable) as caught:
        await ask(remote)
    assert caught.value.name == "far"
    assert caught.value.message.count("it answered 503") == 2
    # Where the workers are is for the log alone.
    assert not any(url in caught.value.message for url, _ in workers)
    assert all(url in caplog.text for url, _ in workers)


async def test_workers_are_found_by_name(
    workers: list[tuple[str, Any]], ask: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, found = 0.0, [workers[0][0]]

    async def addresses(url: str) -> list[str]:
        assert url == "http://workers:8001"
        if not found:
            raise OSError("no such name")
        return found

    monkeypatch.setattr("mull.verifiers.remote.addresses", addresses)
    remote = RemoteVerifier("far", ["http://workers:8001"], kind="process", discover=True, clock=lambda: now)
    await remote.check()
    for other in (workers[1][0], None):
        assert await ask(remote) == [0.5]
        found[:] = [] if other is None else [other]
        now += 10
    # What cannot be resolved says nothing.
    assert await ask(remote) == [0.5]
    assert [len(verifier.seen) for _, verifier in workers] == [1, 2]
    await remote.close()


async def test_a_bad_request_is_the_callers_and_no_reason_to_ask_another(
    remote: RemoteVerifier, workers: list[tuple[str, Any]], ask: Make
) -> None:
    workers[0][1].error = InvalidRequest("too long", param="messages", code="context_length_exceeded")
    with pytest.raises(InvalidRequest) as caught:
        await ask(remote)
    assert (caught.value.message, caught.value.param) == ("too long", "messages")
    assert caught.value.code == "context_length_exceeded"
    assert workers[1][1].seen == []


async def test_a_worker_that_hangs_is_given_up_and_its_work_cancelled(
    workers: list[tuple[str, Any]], ask: Make
) -> None:
    remote = RemoteVerifier("far", [url for url, _ in workers], kind="process", timeout=1.0)
    workers[0][1].gate.clear()
    assert await ask(remote) == [0.5]
    async with asyncio.timeout(10):
        await workers[0][1].cancelled.wait()
    await remote.close()


async def test_cancelling_cancels_the_work_in_the_worker(
    remote: RemoteVerifier, workers: list[tuple[str, Any]], ask: Make
) -> None:
    _, verifier = workers[0]
    verifier.gate.clear()
    doomed = asyncio.create_task(ask(remote))
    await verifier.asked.wait()
    doomed.cancel()
    async with asyncio.timeout(10):
        await verifier.cancelled.wait()


@pytest.mark.parametrize(
    "answer",
    [
        "hello",
        {"verifier": "x", "kind": "process", "scores": []},
        {"verifier": "x", "kind": "outcome", "scores": [{"value": 1}]},
        {"verifier": "x", "kind": "process", "scores": [{"value": None}]},
    ],
)
async def test_nonsense_is_no_score(serving: Make, ask: Make, answer: object) -> None:
    app = FastAPI()
    app.post("/v1/score")(lambda: answer)
    async with serving(app) as url:
        remote = RemoteVerifier("far", [url], kind="process")
        with pytest.raises(VerifierUnavailable, match="far"):
            await ask(remote)
        await remote.close()


async def test_redirects_are_not_followed(serving: Make, scripted: Make, ask: Make) -> None:
    from fastapi.responses import RedirectResponse

    app = FastAPI()
    async with serving(create_app(scripted())) as elsewhere:
        app.post("/v1/score")(lambda: RedirectResponse(elsewhere + "/v1/score"))
        async with serving(app) as url:
            remote = RemoteVerifier("far", [url], kind="process")
            with pytest.raises(VerifierUnavailable, match="307"):
                await ask(remote)
            await remote.close()


async def test_check(remote: RemoteVerifier) -> None:
    await remote.check()
    alone = RemoteVerifier("gone", [f"http://127.0.0.1:{free_port()}"], kind="process")
    with pytest.raises(VerifierUnavailable, match="gone"):
        await alone.check()
    await alone.close()


def test_it_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RemoteVerifier("far", [], kind="process")


SERVE = """
import asyncio, sys
from mull.verifiers.config import parse
from mull.verifiers.worker import serve_worker
config = parse({"kind": "regex", "pattern": "5$"})
asyncio.run(serve_worker("", "regex", port=int(sys.argv[1]), name="five", config=config))
"""


@contextmanager
def process(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own."""
    worker = subprocess.Popen([sys.executable, "-c", SERVE, str(port)])
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


async def healthy(remote: RemoteVerifier) -> None:
    while True:
        try:
            return await remote.check()
        except VerifierUnavailable:
            await asyncio.sleep(0.1)


@pytest.mark.integration
@pytest.mark.timeout(180)
async def test_killed_workers(ask: Make) -> None:
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    remote = RemoteVerifier("five", urls, kind="outcome")
    with process(ports[0]) as first, process(ports[1]) as second:
        for url in urls:
            alone = RemoteVerifier("five", [url], kind="outcome")
            await healthy(alone)
            await alone.close()
        assert await ask(remote, "a", "is 5", "is 6") == [1, 0]
        first.kill()
        first.wait()
        assert await ask(remote, "a", "is 5", "is 6") == [1, 0], "the second worker did not take over"
        os.kill(second.pid, signal.SIGTERM)
        second.wait()
        with pytest.raises(VerifierUnavailable) as caught:
            await ask(remote, "a", "is 5")
        assert caught.value.name == "five"
    await remote.close()
