"""The verifier worker: a verifier as a FastAPI service of its own."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from mull.answers import Answers
from mull.errors import InvalidRequest, MullError, Unavailable
from mull.protocols import Verifier
from mull.verifiers.batching import Batcher
from mull.verifiers.config import VerifierConfig, build, parse
from mull.verifiers.wire import ScoreOut, ScoreRequest, ScoreResponse

GRACE = 10
"""Seconds for requests under way when the worker is told to stop."""
_CLIENT_GONE = 499


async def _nothing() -> None:
    """What to do when there is nothing to check or close."""


class _Metrics:
    """What a worker counts, in a registry of its own."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "mull_verifier_requests", "Requests to /v1/score by HTTP status", ["status"], registry=registry
        )
        self.candidates = Counter("mull_verifier_candidates", "Candidates scored", registry=registry)
        self.tokens = Counter(
            "mull_verifier_tokens", "Tokens computed, cached ones left out", registry=registry
        )
        self.seconds = Histogram(
            "mull_verifier_request_seconds", "Time to answer /v1/score", registry=registry
        )
        self.batches = Histogram(
            "mull_verifier_batch_candidates",
            "Candidates in a batch",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        gauge = Gauge("mull_verifier_waiting_candidates", "Candidates waiting for a batch", registry=registry)
        gauge.set_function(waiting)


class _Measure:
    """ASGI middleware that counts and times requests to score, those refused included."""

    def __init__(self, app: ASGIApp, metrics: _Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/v1/score":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def observe(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            return await self._app(scope, receive, observe)
        finally:
            self._metrics.requests.labels(status).inc()
            self._metrics.seconds.observe(time.perf_counter() - started)


def create_app(
    verifier: Verifier,
    *,
    tokenizer: str | None = None,
    size: int = 64,
    wait: float = 0.002,
    check: Callable[[], Awaitable[None]] = _nothing,
    close: Callable[[], Awaitable[None]] = _nothing,
) -> FastAPI:
    """The service: `POST /v1/score`, `GET /health`, `GET /metrics`.

    Every error is an OpenAI error object: 400 for a bad request, 503 with Retry-After when the verifier is
    down or too much waits. A client that goes away has its work cancelled.

    Args:
        verifier: What scores.
        tokenizer: Fingerprint of its tokenizer; requests with the same one may send token ids.
        size: Candidates in a micro-batch, at most.
        wait: Seconds that a micro-batch may wait to fill up.
        check: Raises `Unavailable` when the verifier is down, for `/health`.
        close: Called when the service has stopped.
    """
    batcher = Batcher(verifier, size=size, wait=wait, on_batch=lambda size: metrics.batches.observe(size))
    metrics = _Metrics(lambda: batcher.waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with batcher:
                yield
        finally:
            await close()

    app = FastAPI(title=f"mull verifier {verifier.name}", lifespan=lifespan)
    app.add_exception_handler(MullError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_fault)

    app.add_middleware(_Measure, metrics=metrics)

    @app.post("/v1/score")
    async def score(body: ScoreRequest, request: Request) -> Response:
        work = asyncio.create_task(batcher.score(body.task(), body.judged(tokenizer)))
        gone = asyncio.create_task(_disconnect(request))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return Response(status_code=_CLIENT_GONE)
            scores = work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        metrics.candidates.inc(len(scores))
        metrics.tokens.inc(sum(score.tokens for score in scores))
        answer = ScoreResponse(
            verifier=verifier.name,
            kind=verifier.kind,
            tokenizer=tokenizer,
            scores=[ScoreOut.of(score) for score in scores],
        )
        return JSONResponse(answer.model_dump())

    @app.get("/health")
    async def health() -> Response:
        await check()
        return JSONResponse(
            {"status": "ok", "verifier": verifier.name, "kind": verifier.kind, "tokenizer": tokenizer}
        )

    @app.get("/metrics")
    async def expose() -> Response:
        return Response(
            generate_latest(metrics.registry) + generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST
        )

    return app


async def _disconnect(request: Request) -> None:
    """Wait until the client has gone. The request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error(error: MullError) -> JSONResponse:
    content = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    headers = (
        {"Retry-After": str(max(1, round(error.retry_after)))} if isinstance(error, Unavailable) else None
    )
    return JSONResponse({"error": content}, status_code=error.status, headers=headers)


async def _on_error(request: Request, error: Any) -> Response:
    return _error(error)


async def _on_invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    message = f"{where}: {first['msg']}" if where else str(first["msg"])
    return _error(InvalidRequest(message, param=where or None))


async def _on_http(request: Request, error: Any) -> Response:
    content = {"message": str(error.detail), "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": content}, status_code=error.status_code, headers=error.headers)


async def _on_fault(request: Request, error: Exception) -> Response:
    return _error(MullError("internal error"))


async def serve_worker(
    model: str,
    kind: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    name: str | None = None,
    config: VerifierConfig | None = None,
    size: int = 64,
    wait: float = 0.002,
) -> None:
    """Serve one verifier until SIGTERM or SIGINT; requests under way are finished then.

    Args:
        model: Folder or Hugging Face name of the model.
        kind: `prm`, `orm`, `likelihood` or `generative`; its other settings are the defaults.
        host: Address to listen on.
        port: Port to listen on.
        name: The verifier's name; its kind by default.
        config: A whole configuration instead of `model` and `kind`.
        size: Candidates in a micro-batch, at most.
        wait: Seconds that a micro-batch may wait to fill up.

    Raises:
        OSError: the port is taken.
        InvalidRequest: `kind` is unknown.
        EngineUnavailable: the model does not start.
    """
    import uvicorn

    config = config or parse({"kind": kind, "model": model})
    name = name or config.kind
    # Found out before the model is loaded. The socket is closed again: engines fork, and a copy of it in a
    # child would keep accepting connections for a worker that was killed.
    with socket.create_server((host, port), reuse_port=False):
        pass
    answers = Answers()
    verifiers = await build({name: config}, answers=answers, policies=_policies(config))

    async def close() -> None:
        await verifiers.close()
        await answers.close()

    # uvicorn ends the process by the signal it got: what must be closed is closed by the app.
    app = create_app(
        verifiers[name],
        tokenizer=verifiers.tokenizers.get(name),
        size=size,
        wait=wait,
        check=verifiers.check,
        close=close,
    )
    settings = uvicorn.Config(app, host=host, port=port, timeout_graceful_shutdown=GRACE, log_level="warning")
    await uvicorn.Server(settings).serve()


def _policies(config: VerifierConfig) -> tuple[str, ...]:
    """The verifier's own model: what has its tokenizer is told by each request."""
    model = getattr(config, "model", None)
    return () if model is None else (model,)
