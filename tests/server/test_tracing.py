"""Spans, by OpenTelemetry's own SDK."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from mull.errors import EngineUnavailable
from mull.server.app import create_app
from mull.server.settings import load
from mull.server.tracing import Tracing
from mull.testing import ScriptedVerifier

if TYPE_CHECKING:
    from tests.server.conftest import Fixed

WORDS = "Never to be seen in a span"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = {"model": "mull-tiny", "messages": [{"role": "user", "content": WORDS}]}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(spans: InMemorySpanExporter, scripted: type[Fixed], serving: Any) -> Iterator[Any]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    settings = load(
        None,
        verifiers={"orm": {"kind": "orm", "model": "unused"}},
        defaults={"verifiers": {"outcome": "orm"}},
    )
    script = scripted()
    judge = ScriptedVerifier(lambda text, ended: 0.9, name="orm", kind="outcome")
    app = create_app(
        settings, generators={"mull-tiny": script}, verifiers={"orm": judge}, tracing=Tracing(provider)
    )
    with serving(app) as url, httpx.Client(base_url=url, timeout=20) as http:
        yield (
            script,
            lambda **body: http.post(
                "/v1/chat/completions", json=BODY | body, headers={"traceparent": PARENT}
            ),
        )


def split(spans: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The request's span, and those below it."""
    finished = spans.get_finished_spans()
    (request,) = [span for span in finished if span.name.startswith("solve ")]
    return request, [span for span in finished if span is not request]


def test_a_request_its_engine_calls_and_its_verifier_calls(spans: InMemorySpanExporter, traced: Any) -> None:
    _, post = traced
    done = post(ttc={"strategy": "best_of_n", "n": 4, "verifier": "orm"}).json()
    request, calls = split(spans)
    attributes = dict(request.attributes or {})
    assert request.name == "solve best_of_n"
    assert attributes["gen_ai.request.model"] == "mull-tiny"
    assert attributes["mull.verifier"] == "orm"
    assert attributes["mull.trace_id"] == done["ttc"]["trace_id"]
    assert attributes["gen_ai.usage.output_tokens"] == done["usage"]["completion_tokens"]
    assert attributes["mull.stopped"] == "complete"
    # The client's span is above it, its own are below it.
    assert request.parent is not None
    assert f"{request.parent.trace_id:032x}-{request.parent.span_id:016x}" == PARENT[3:-3]
    assert request.context is not None
    for call in calls:
        assert call.parent is not None
        assert (call.parent.span_id, call.parent.trace_id) == (
            request.context.span_id,
            request.parent.trace_id,
        )
    assert sorted(span.name for span in calls) == ["generate", "verify"]
    generate, verify = sorted(calls, key=lambda span: span.name)
    assert (generate.attributes or {})["gen_ai.usage.output_tokens"] == done["usage"]["completion_tokens"]
    assert len(generate.events) == 4
    assert (verify.attributes or {})["mull.candidates"] == 4


def test_streams_are_spans_too(spans: InMemorySpanExporter, traced: Any) -> None:
    _, post = traced
    assert "[DONE]" in post(stream=True).text
    request, (call,) = split(spans)
    assert [event.name for event in call.events] == ["first token"]
    assert request.status.status_code is StatusCode.UNSET


def test_no_text_is_in_a_span(spans: InMemorySpanExporter, traced: Any) -> None:
    script, post = traced
    post(stream=True)
    script.fail = EngineUnavailable(f"the prompt was {WORDS}")
    assert post().status_code == 503
    told = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "gen_ai.usage" in told
    assert WORDS not in told
    assert "boxed" not in told


def test_errors_are_told_by_their_code(spans: InMemorySpanExporter, traced: Any) -> None:
    script, post = traced
    script.fail = EngineUnavailable("gone")
    assert post().status_code == 503
    request, calls = split(spans)
    for span in (request, *calls):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "engine_unavailable"
        assert not span.events


def test_without_a_collector_nothing_is_loaded() -> None:
    import subprocess
    import sys

    code = "import sys, mull.server.app; print(any(name.startswith('opentelemetry') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


def test_spans_reach_the_configured_collector(scripted: type[Fixed], serving: Any) -> None:
    with collector() as (url, got):
        app = create_app(
            load(None, telemetry={"otlp_endpoint": url}), generators={"mull-tiny": scripted()}, verifiers={}
        )
        with serving(app) as at:
            assert httpx.post(f"{at}/v1/chat/completions", json=BODY).status_code == 200
    assert {path for path, _ in got} == {"/v1/traces"}
    assert b"solve single" in b"".join(body for _, body in got)
