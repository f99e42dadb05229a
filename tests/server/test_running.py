"""Requests that run can be seen and watched to their end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVarTuple

import httpx
import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Fixed, Live, Start

KEY = "open sesame"
ADMIN = {"Authorization": f"Bearer {KEY}"}
BEAM = {"strategy": "beam_search", "width": 2, "expand": 2}
QUESTION = [{"role": "user", "content": "What is one plus one?"}]

Ts = TypeVarTuple("Ts")
Events = Iterator[tuple[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_ADMIN_KEY", KEY)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def running(live: Live, headers: dict[str, str] = ADMIN) -> list[dict[str, Any]]:
    response = live.http.get("/v1/ttc/running", headers=headers)
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["data"]
    return rows


def parsed(response: httpx.Response) -> Events:
    """The named events of a stream; comments come under an empty name."""
    name = ""
    for line in response.iter_lines():
        if line.startswith(":"):
            yield "", {}
        elif line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@contextmanager
def watching(live: Live, name: str, headers: dict[str, str] = ADMIN, query: str = "") -> Iterator[Events]:
    path = f"/v1/ttc/traces/{name}/events{query}"
    with live.http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield parsed(response)


@contextmanager
def held(live: Live, script: Fixed, *, turn: int = 1, **body: Any) -> Iterator[str]:
    """A request that the engine holds at a turn; its id. Ends when the script is let go."""
    before = {row["id"] for row in running(live)}
    script.turns, script.hold_at = 0, turn
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(live.post, **body)
        try:
            until(lambda: not script.hold.is_set())
            (row,) = [row for row in running(live) if row["id"] not in before]
            yield row["id"]
        finally:
            script.hold_at = 0
            script.hold.set()
            asked.result()


def test_a_search_is_watched_to_its_end(start: Start, scripted: type[Fixed], tmp_path: Path) -> None:
    script = scripted()
    with start(script=script, traces={"dir": tmp_path}) as live:
        with held(live, script, turn=8, ttc=BEAM) as name, watching(live, name) as events:
            first, data = next(events)
            assert first == "trace"
            assert (data["id"], data["strategy"], data["status"]) == (name, "beam_search", "running")
            assert data["messages"] == QUESTION
            assert next(events)[1]["kind"] == "root"
            script.hold.set()
            rest = [event for event in events if event[0]]
        stored = live.http.get(f"/v1/ttc/traces/{name}", headers=ADMIN).json()
    names = [name for name, _ in rest]
    assert names == ["node"] * (len(rest) - 1) + ["end"]
    assert rest[-1][1] == stored
    assert stored["status"] == "finished"
    newest = {node["id"]: node for _, node in rest[:-1]}
    assert [newest[node["id"]] for node in stored["nodes"][1:]] == stored["nodes"][1:]
    seen = {0}
    for _, node in rest[:-1]:
        assert node["parent"] in seen
        seen.add(node["id"])


def test_whoever_comes_late_gets_the_nodes_so_far(start: Start, scripted: type[Fixed]) -> None:
    script = scripted()
    with start(script=script) as live, held(live, script, turn=8, ttc=BEAM) as name:
        (row,) = running(live)
        assert row["nodes"] > 1
        with watching(live, name) as events:
            told = [next(events) for _ in range(1 + row["nodes"])]
            assert [data["id"] for _, data in told[1:]] == list(range(row["nodes"]))
            assert running(live)[0]["watchers"] == 1
        until(lambda: running(live)[0]["watchers"] == 0)


def test_a_cancelled_request_ends_its_stream(start: Start, scripted: type[Fixed]) -> None:
    script = scripted()
    script.hold_at = 1
    with start(script=script) as live:
        body = {"model": "mull-tiny", "stream": True, "messages": QUESTION, "ttc": {"progress": "nodes"}}
        with live.http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()  # let go, it would close the stream
            first = next(filter(None, lines))
            name = json.loads(first.removeprefix("data: "))["ttc"]["trace_id"]
            with watching(live, name) as events:
                assert next(events)[0] == "trace"
                response.close()
                *_, (kind, data) = events
        assert (kind, data["status"], data["answer"]) == ("end", "cancelled", None)
        assert running(live) == []
        script.hold.set()


def test_a_failed_request_ends_its_stream(start: Start, scripted: type[Fixed]) -> None:
    from mull.errors import EngineUnavailable

    script = scripted()
    with start(script=script) as live, held(live, script, ttc=BEAM) as name, watching(live, name) as events:
        assert next(events)[0] == "trace"
        script.fail = EngineUnavailable("gone")
        script.hold.set()
        *_, (kind, data) = events
    assert (kind, data["status"], data["error"]["message"]) == ("end", "failed", "gone")


def test_silence_has_heartbeats(start: Start, scripted: type[Fixed]) -> None:
    script = scripted()
    with (
        start(script=script, heartbeat=0.05) as live,
        held(live, script) as name,
        watching(live, name) as events,
    ):
        assert [next(events)[0] for _ in range(4)] == ["trace", "node", "", ""]


def test_a_request_that_runs_can_be_read(start: Start, scripted: type[Fixed], tmp_path: Path) -> None:
    script = scripted()
    with start(script=script, traces={"dir": tmp_path}) as live:
        with held(live, script, turn=8, ttc=BEAM | {"budget": {"tokens": 900}}) as name:
            found = live.http.get(f"/v1/ttc/traces/{name}", headers=ADMIN).json()
            (row,) = running(live)
        after = live.http.get(f"/v1/ttc/traces/{name}", headers=ADMIN).json()
    assert found["status"] == "running"
    assert [found[field] for field in ("answer", "text", "stopped", "error")] == [None] * 4
    assert after["nodes"][1]["text"] == found["nodes"][1]["text"]
    assert after["status"] == "finished"
    assert row["tokens"] == sum(node["tokens"] for node in found["nodes"]) > 0
    assert row["budget"] == {"tokens": 900, "seconds": None, "samples": None} == found["budget"]
    assert (row["phase"], row["strategy"], row["verifier"]) == ("generating", "beam_search", "prm")


def test_nothing_runs_when_all_is_over(start: Start, scripted: type[Fixed]) -> None:
    with start(script=scripted()) as live:
        assert live.post(ttc=BEAM).status_code == 200
        assert live.post(temperature=9).status_code == 400
        assert running(live) == []


def test_a_kept_trace_is_told_at_once(start: Start, tmp_path: Path) -> None:
    with start(traces={"dir": tmp_path}) as live:
        name = live.post(ttc=BEAM).json()["ttc"]["trace_id"]
        live.http.post("/v1/ttc/feedback", json={"trace_id": name, "right": True})
        stored = live.http.get(f"/v1/ttc/traces/{name}").json()
        with watching(live, name) as events:
            (first, begun), *nodes, (last, end) = events
    assert (first, last) == ("trace", "end")
    assert begun["status"] == "running"
    assert end == stored
    assert end["feedback"][0]["right"] is True
    assert [node for _, node in nodes] == sorted(stored["nodes"], key=lambda node: node["ended"])


def test_a_replay_takes_as_long_as_the_search_at_this_speed(tmp_path: Path) -> None:
    import asyncio

    from mull.server.watching import replay

    class Loop(asyncio.SelectorEventLoop):
        """Its clock jumps to what comes next."""

        ahead = 0.0

        def time(self) -> float:
            return self.ahead

        def call_at(
            self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
        ) -> asyncio.TimerHandle:
            self.ahead = max(self.ahead, when)
            return super().call_at(when, callback, *args, context=context)

    nodes = [{"id": i, "ended": float(i)} for i in range(4)]
    trace = {"id": "t", "nodes": nodes, "seconds": 30.0}

    async def told() -> list[tuple[bytes, float]]:
        clock = asyncio.get_running_loop().time
        return [(data, clock()) async for data in replay(trace, speed=2, heartbeat=5)]

    with asyncio.Runner(loop_factory=Loop) as runner:
        found = runner.run(told())
    times = {data.split(b"\n")[0]: moment for data, moment in found}
    assert [moment for data, moment in found if data.startswith(b"event: node")] == [0, 0.5, 1, 1.5]
    assert times[b"event: end"] == 15
    assert sum(data.startswith(b":") for data, _ in found) == 2


@pytest.mark.parametrize("speed", ["0", "fast", "nan", "inf", "-1", "1001", ""])
def test_a_wrong_speed_is_refused_by_name(live: Live, speed: str) -> None:
    response = live.http.get(f"/v1/ttc/traces/x/events?speed={speed}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "speed"


def test_without_text_none_is_told(start: Start, scripted: type[Fixed], tmp_path: Path) -> None:
    script = scripted()
    with (
        start(script=script, traces={"dir": tmp_path, "text": False}) as live,
        held(live, script, turn=8, ttc=BEAM) as name,
    ):
        found = live.http.get(f"/v1/ttc/traces/{name}").text
        with watching(live, name) as events:
            told = [next(events)]
            script.hold.set()
            told += events
    for text in (found, json.dumps(told)):
        assert "plus" not in text
        assert "boxed" not in text
    assert len(told) > 5


def test_a_user_reads_what_is_his(start: Start, scripted: type[Fixed], tmp_path: Path) -> None:
    script = scripted()
    ann, bob = bearer("ann"), bearer("bob")
    with start(script=script, traces={"dir": tmp_path}, api_keys=["ann", "bob"]) as live:
        live.http.headers.update(ann)
        with held(live, script, ttc=BEAM) as name:
            paths = [f"/v1/ttc/traces/{name}", f"/v1/ttc/traces/{name}/events"]
            assert [row["id"] for row in running(live, ann)] == [name]
            assert running(live, bob) == []
            assert [row["id"] for row in running(live)] == [name]
            refused = [live.http.get(path, headers=bob) for path in paths]
        refused += [live.http.get(path, headers=bob) for path in paths]
        said = {"trace_id": name, "right": True}
        refused.append(live.http.post("/v1/ttc/feedback", headers=bob, json=said))
        unknown = live.http.get("/v1/ttc/traces/nothing", headers=bob)
        for response in refused:
            assert response.status_code == 404
            assert response.text.replace(name, "nothing") == unknown.text
        for headers in (ann, ADMIN):
            assert live.http.get(paths[0], headers=headers).json()["status"] == "finished"
            assert live.http.get(paths[1], headers=headers).status_code == 200
            assert live.http.post("/v1/ttc/feedback", headers=headers, json=said).status_code == 200
        assert live.http.get(paths[0], headers=bearer("eve")).status_code == 401
        assert live.http.get("/v1/ttc/running", headers=bearer("eve")).status_code == 401
        assert live.http.get("/v1/ttc/traces", headers=ann).status_code == 403
    kept = "".join(path.read_text() for path in tmp_path.glob("traces-*"))
    assert json.loads(kept)["owner"]
    assert "ann" not in kept


def test_owners_outlive_the_server(start: Start, tmp_path: Path) -> None:
    settings = {"traces": {"dir": tmp_path}, "api_keys": ["ann", "bob"]}
    with start(**settings) as live:
        live.http.headers.update(bearer("ann"))
        name = live.post().json()["ttc"]["trace_id"]
    with start(**settings) as live:
        found = {key: live.http.get(f"/v1/ttc/traces/{name}", headers=bearer(key)) for key in ("ann", "bob")}
    assert {key: response.status_code for key, response in found.items()} == {"ann": 200, "bob": 404}


def test_requests_from_before_there_were_keys_are_for_administrators(start: Start, tmp_path: Path) -> None:
    with start(traces={"dir": tmp_path}) as live:
        name = live.post().json()["ttc"]["trace_id"]
        assert live.http.get(f"/v1/ttc/traces/{name}").json()["owner"] is None
    with start(traces={"dir": tmp_path}, api_keys=["ann"]) as live:
        assert live.http.get(f"/v1/ttc/traces/{name}", headers=bearer("ann")).status_code == 404
        assert live.http.get(f"/v1/ttc/traces/{name}", headers=ADMIN).status_code == 200


def test_without_keys_only_administrators_are_told_ids(start: Start, scripted: type[Fixed]) -> None:
    script = scripted()
    with start(script=script) as live, held(live, script) as name:
        assert [row["id"] for row in running(live, {})] == [None]
        assert [row["id"] for row in running(live)] == [name]
        assert live.http.get(f"/v1/ttc/traces/{name}").status_code == 200


async def test_whoever_comes_when_it_is_over_is_told_so() -> None:
    from mull.server.live import Running
    from mull.trace import Trace

    run: Any = SimpleNamespace(trace=Trace())
    job: Any = None
    served: Any = object()
    search = Running(job, run, None, lambda: False)
    search.end(served)
    with search.watch() as watcher:
        assert await watcher.news() == (run.trace.nodes, served)


async def test_a_slow_watcher_keeps_only_the_newest_state_of_each_node() -> None:
    from mull.server.live import Watcher
    from mull.trace import Node

    root = Node(id=0, parent=None, kind="root", text="")
    watcher = Watcher([root])
    for score in range(1000):
        for id in (2, 1):
            watcher.tell(Node(id=id, parent=0, kind="step", text="", score=float(score)))
    nodes, served = await watcher.news()
    assert [(node.id, node.score) for node in nodes] == [(0, None), (1, 999.0), (2, 999.0)]
    assert served is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": QUESTION}),
        ("/v1/completions", {"prompt": "One"}),
        ("/v1/responses", {"input": "What is one plus one?"}),
        ("/v1/messages", {"messages": QUESTION, "max_tokens": 50}),
    ],
)
def test_every_endpoint_notes_whose_a_request_is(
    start: Start, tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    with start(traces={"dir": tmp_path}, api_keys=["ann", "bob"]) as live:
        response = live.http.post(path, json={"model": "mull-tiny"} | body, headers=bearer("ann"))
        assert response.status_code == 200, response.text
        (row,) = live.http.get("/v1/ttc/traces", headers=ADMIN).json()["data"]
        found = [live.http.get(f"/v1/ttc/traces/{row['id']}", headers=bearer(key)) for key in ("ann", "bob")]
    assert [response.status_code for response in found] == [200, 404]
