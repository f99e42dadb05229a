"""Spans for OpenTelemetry: one a request, one for each of its engine and verifier calls; no text in them.

Names follow the semantic conventions for generative AI where these have one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

import mull
from mull.protocols import Generator, Verifier
from mull.server.around import Around
from mull.types import Candidate, Chunk, Completion, Meter, Prompt, Sampling, Score, Task

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from mull.server.service import Job, Served

FLUSH = 3000
"""Milliseconds that the last spans get at shutdown."""
SEND = 5
"""Seconds for the collector to take some."""


class Tracing:
    """Makes the spans, or none at all.

    Args:
        provider: Where they go; None makes none.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("mull", mull.__version__)

    @property
    def on(self) -> bool:
        """Whether there are spans."""
        return self._tracer is not None

    def request(self, job: Job) -> AbstractContextManager[object]:
        """A request's span, from its coming to its end."""
        return nullcontext() if self._tracer is None else _request(self._tracer, job)

    def end(self, served: Served) -> None:
        """Note in the request's span what came of it."""
        if self._tracer is None:
            return
        from opentelemetry.trace import get_current_span

        run = served.run
        get_current_span().set_attributes(
            {
                "gen_ai.usage.input_tokens": run.usage.prompt,
                "gen_ai.usage.output_tokens": run.usage.completion,
                "mull.usage.cached_tokens": run.usage.cached,
                "mull.engine_calls": run.calls,
                "mull.verifier_calls": run.verifier_calls,
                "mull.verifier_tokens": run.verifier_tokens,
                "mull.stopped": run.stopped,
                "mull.status": served.status,
            }
        )

    def generator(self, inner: Generator) -> Generator:
        """A generator each of whose calls is a span."""
        return inner if self._tracer is None else _TracedGenerator(inner, self._tracer)

    def verifier(self, inner: Verifier) -> Verifier:
        """A verifier each of whose calls is a span."""
        return inner if self._tracer is None else _TracedVerifier(inner, self._tracer)

    def close(self) -> None:
        """Send what has not been sent. Blocks."""
        if self._provider is not None:
            self._provider.force_flush(FLUSH)
            self._provider.shutdown()


def exporting(endpoint: str | None) -> Tracing:
    """Tracing that sends spans to a collector by OTLP over HTTP; off without one.

    `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_TRACES_SAMPLER`
    are honoured as in any program.

    Args:
        endpoint: Address of the collector, to which `/v1/traces` is added.
    """
    if endpoint is None:
        return Tracing()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "mull")
    resource = Resource.create({"service.name": name, "service.version": mull.__version__})
    provider = TracerProvider(resource=resource)
    url = endpoint.rstrip("/") + "/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=SEND)))
    return Tracing(provider)


class TraceContext:
    """ASGI middleware: what a client says of its own span (`traceparent`) is above ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.context import Context, attach, detach
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers = dict(Headers(scope=scope).items())
        token = attach(TraceContextTextMapPropagator().extract(headers, Context()))
        try:
            await self._app(scope, receive, send)
        finally:
            detach(token)


@contextmanager
def _request(tracer: Tracer, job: Job) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind

    plan = job.plan
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": plan.model,
        "mull.strategy": plan.name,
        "mull.trace_id": job.id,
        **({} if plan.verifier is None else {"mull.verifier": plan.verifier}),
    }
    with (
        tracer.start_as_current_span(
            f"solve {plan.name}",
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
        _failing(span),
    ):
        yield span


@contextmanager
def _failing(span: Span) -> Iterator[None]:
    """Mark a span as failed: by the error's code or type, not by its message, which may quote the client."""
    from opentelemetry.trace import StatusCode

    try:
        yield
    except GeneratorExit:  # nobody wants more of it
        raise
    except BaseException as error:
        span.set_attribute("error.type", getattr(error, "code", None) or type(error).__name__)
        span.set_status(StatusCode.ERROR)
        raise


class _TracedGenerator(Around):
    """A generator each of whose calls is a span.

    The span is never the current one: an iterator may be closed in another task than it was begun in.
    """

    def __init__(self, inner: Generator, tracer: Tracer) -> None:
        super().__init__(inner)
        self._tracer = tracer

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        meter = meter or Meter()
        with self._span(sampling, n, meter) as span:
            async with aclosing(self._inner.sample(prompt, sampling, n=n, meter=meter)) as completions:
                async for completion in completions:
                    span.add_event("finished", {"index": completion.index, "finish": completion.finish})
                    yield completion

    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        meter, first = meter or Meter(), True
        with self._span(sampling, 1, meter) as span:
            async with aclosing(self._inner.stream(prompt, sampling, meter=meter)) as chunks:
                async for chunk in chunks:
                    if first:
                        span.add_event("first token")
                        first = False
                    yield chunk

    @contextmanager
    def _span(self, sampling: Sampling, n: int, meter: Meter) -> Iterator[Span]:
        """One call; the meter is this call's own, as `mull.spending` makes it."""
        from opentelemetry.trace import SpanKind

        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.request.model": self.model,
            "gen_ai.request.choice.count": n,
            "gen_ai.request.max_tokens": sampling.max_tokens,
            "mull.step": sampling.step is not None,
        }
        given = {name: value for name, value in attributes.items() if value is not None}
        span = self._tracer.start_span("generate", kind=SpanKind.CLIENT, attributes=given)
        try:
            with _failing(span):
                yield span
        finally:
            span.set_attribute("gen_ai.usage.input_tokens", meter.usage.prompt)
            span.set_attribute("gen_ai.usage.output_tokens", meter.usage.completion)
            span.set_attribute("mull.usage.cached_tokens", meter.usage.cached)
            span.end()


class _TracedVerifier:
    """A verifier each of whose calls is a span."""

    def __init__(self, inner: Verifier, tracer: Tracer) -> None:
        self._inner, self._tracer = inner, tracer
        self.name, self.kind = inner.name, inner.kind

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        from opentelemetry.trace import SpanKind

        attributes: dict[str, Any] = {"mull.verifier": self.name, "mull.candidates": len(candidates)}
        with (
            self._tracer.start_as_current_span(
                "verify",
                kind=SpanKind.CLIENT,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            _failing(span),
        ):
            scores = await self._inner.score(task, candidates)
            span.set_attribute("mull.verifier_tokens", sum(score.tokens for score in scores))
            return scores
