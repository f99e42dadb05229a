"""The HTTP application: routes, and what they share."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

import mull
from mull.errors import InvalidRequest, MullError
from mull.protocols import Generator, Verifier
from mull.server.admin import Admin, Unauthorized, bearer
from mull.server.backend import Backend, Load
from mull.server.body import read
from mull.server.chat import ChatFormat
from mull.server.choose import Ability, Catalog, default_needs
from mull.server.errors import body_of, headers_of
from mull.server.feedback import Feedback
from mull.server.learning import Learning
from mull.server.metrics import Metrics
from mull.server.middleware import RequestLog
from mull.server.record import record
from mull.server.reload import ReloadRequest, describe
from mull.server.reply import Reply, as_json
from mull.server.schemas import ChatRequest, parse
from mull.server.service import Job, Served, Service
from mull.server.settings import Settings, TraceSettings
from mull.server.traces import TraceStore
from mull.strategies.base import StrategyModel
from mull.strategies.registry import STRATEGIES

log = logging.getLogger(__name__)


class Api:
    """The routes of one server.

    Args:
        settings: The configuration.
        backend: What the server runs on.
        metrics: Where requests are counted.
        store: Where finished requests are kept; None keeps nothing.
    """

    def __init__(
        self, settings: Settings, backend: Backend, metrics: Metrics, store: TraceStore | None = None
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._metrics = metrics
        self._store = store
        self._admin = Admin(settings.admin_key_env)
        self._learning = Learning(settings, backend, metrics, store)
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]

    def routes(self) -> APIRouter:
        """All routes; those under /v1 want a key where keys are configured."""
        v1 = APIRouter(prefix="/v1", dependencies=[Depends(self.authorize)])
        v1.post("/chat/completions", openapi_extra=_takes(ChatRequest))(self.chat_completions)
        v1.get("/models")(self.models)
        v1.get("/models/{name:path}")(self.model)
        v1.get("/ttc/strategies")(self.strategies)
        v1.get("/ttc/verifiers")(self.verifiers)
        v1.post("/ttc/feedback", openapi_extra=_takes(Feedback))(self._learning.feedback)
        # Administrators show a key of their own, not one of those above.
        admin = APIRouter(prefix="/v1/ttc", dependencies=[Depends(self._admin.authorize)])
        admin.get("/traces")(self._learning.traces)
        admin.get("/traces/{name}")(self._learning.trace)
        takes = _takes(ReloadRequest)
        admin.post("/verifiers/{name}/reload", openapi_extra=takes)(self._learning.reload)
        router = APIRouter()
        router.include_router(v1)
        router.include_router(admin)
        router.get("/health")(self.health)
        router.get("/ready")(self.ready)
        router.get("/metrics")(self.metrics)
        return router

    async def authorize(self, request: Request) -> None:
        """Let requests with a known key pass.

        Raises:
            Unauthorized: there is none.
        """
        if not self._keys:
            return
        key = bearer(request) or b""
        # All keys are compared, each in constant time: the answer's delay says nothing about any of them.
        found = [hmac.compare_digest(key, known) for known in self._keys]
        if not any(found):
            raise Unauthorized("a valid API key is needed: Authorization: Bearer <key>")

    async def chat_completions(self, request: Request) -> Response:
        """Answer a conversation, as JSON or as server-sent events."""
        body = await read(request, self._settings.limits)
        self._backend.check_started()
        asked = parse(body, nesting=self._settings.limits.nesting)
        job = Job(plan=self._catalog.choose(asked), task=asked.task())
        return Reply(
            self._service,
            job,
            ChatFormat(job, asked),
            stream=asked.stream,
            nodes=asked.ttc is not None and asked.ttc.progress is not False,
            heartbeat=self._settings.heartbeat,
        )

    async def models(self) -> Response:
        """All models, each also with every strategy and preset that works with it."""
        self._backend.check_started()
        catalog = self._catalog
        names = [n for m in catalog.models for n in (m, *(f"{m}+{alias}" for alias in catalog.aliases(m)))]
        return as_json({"object": "list", "data": [self._card(name) for name in names]})

    async def model(self, name: str) -> Response:
        """One model."""
        self._backend.check_started()
        self._catalog.served(name)
        return as_json(self._card(name))

    async def strategies(self) -> Response:
        """The strategies: what they do, their parameters as JSON Schema, what they need, where they work."""
        self._backend.check_started()
        catalog, data = self._catalog, []
        for name in STRATEGIES.names():
            strategy = STRATEGIES.get(name)
            models = [model for model in catalog.models if name in catalog.aliases(model)]
            data.append(
                {
                    "name": name,
                    "description": strategy.__doc__,
                    "source": strategy.source or None,
                    "parameters": strategy.model_json_schema(),
                    "needs": asdict(default_needs(strategy)),
                    "cost": {"model": strategy.cost_model or None, "at_most": _default_cost(strategy)},
                    "models": models,
                }
            )
        return as_json({"object": "list", "data": data})

    async def verifiers(self) -> Response:
        """The verifiers and whether they answer."""
        self._backend.check_started()
        healthy = await self._backend.healthy_verifiers()
        pool = self._backend.verifiers
        data = [describe(name, pool) | {"healthy": healthy[name]} for name in pool]
        return as_json({"object": "list", "data": data})

    async def health(self) -> Response:
        """Whether this process lives."""
        return as_json({"status": "ok", "version": mull.__version__})

    async def ready(self) -> Response:
        """Whether requests can be served; 503 says what is missing."""
        await self._backend.check()
        return as_json({"status": "ready"})

    async def metrics(self) -> Response:
        """Prometheus metrics of the server and of the engines in this process."""
        return Response(self._metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @property
    def _catalog(self) -> Catalog:
        return Catalog(
            settings=self._settings,
            models={
                name: Ability(continues=generator.continues, ends=bool(generator.ends))
                for name, generator in self._backend.generators.items()
            },
            verifiers={name: verifier.kind for name, verifier in self._backend.verifiers.items()},
            retrievers=tuple(self._backend.retrievers),
        )

    @property
    def _service(self) -> Service:
        return Service(
            generators=self._backend.generators,
            verifiers=self._backend.verifiers,
            retrievers=self._backend.retrievers,
            answers=self._backend.answers,
            metrics=self._metrics,
            fallback=self._settings.fallback == "majority_vote",
            keep=None if self._store is None else self._keep,
        )

    def _keep(self, served: Served) -> None:
        assert self._store is not None
        self._store.put(served.job.id, partial(record, served, text=self._settings.traces.text))

    def _card(self, name: str) -> dict[str, Any]:
        root, _, alias = name.partition("+")
        return {
            "id": name,
            "object": "model",
            "created": self._backend.created,
            "owned_by": "mull",
            "root": root,
            "parent": root if alias else None,
        }


def _default_cost(strategy: type[StrategyModel]) -> dict[str, int] | None:
    """What a strategy spends at most with its default parameters; None where it does not say."""
    try:
        cost = strategy().cost()
    except ValidationError:
        return None
    return None if cost is None else asdict(cost)


def create_app(
    settings: Settings,
    *,
    generators: Mapping[str, Generator] | None = None,
    verifiers: Mapping[str, Verifier] | None = None,
    load: Load | None = None,
    on_failure: Callable[[], None] | None = None,
) -> FastAPI:
    """The application.

    Args:
        settings: The configuration.
        generators: Models that run already, instead of starting the configured ones.
        verifiers: Verifiers that run already, instead of starting the configured ones.
        load: Loads another version of a verifier, instead of what the configuration says.
        on_failure: Called when an engine or verifier cannot be started.
    """
    backend = Backend(settings, generators=generators, verifiers=verifiers, load=load, on_failure=on_failure)
    metrics = Metrics()
    store = _store(settings.traces, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if store is not None:
            await _open(store, on_failure)
        await backend.open()
        try:
            yield
        finally:
            await backend.close()
            if store is not None:
                await asyncio.to_thread(store.close)

    app = FastAPI(title="mull", version=mull.__version__, lifespan=lifespan, redirect_slashes=False)
    app.include_router(Api(settings, backend, metrics, store).routes())
    app.add_middleware(RequestLog)
    app.add_exception_handler(MullError, _on_mull_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    return app


def _store(traces: TraceSettings, metrics: Metrics) -> TraceStore | None:
    if traces.dir is None:
        return None
    return TraceStore(
        traces.dir,
        max_count=traces.max_count,
        max_age=traces.max_age_days * 86_400,
        on_drop=metrics.traces_lost.inc,
    )


async def _open(store: TraceStore, on_failure: Callable[[], None] | None) -> None:
    try:
        await asyncio.to_thread(store.open)
    except OSError as error:
        log.error("cannot start: traces.dir: %s", error)
        if on_failure is not None:
            on_failure()
        raise


def _takes(model: type[BaseModel]) -> dict[str, Any]:
    """What an OpenAPI document says of a route that reads its body itself."""
    body = {"content": {"application/json": {"schema": _inlined(model)}}, "required": True}
    return {"requestBody": body}


def _inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON Schema without references, which would point nowhere inside an OpenAPI document."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(part: Any) -> Any:
        if isinstance(part, dict) and "$ref" in part:
            return inline(definitions[part["$ref"].rsplit("/", 1)[-1]])
        if isinstance(part, dict):
            return {key: inline(value) for key, value in part.items()}
        return [inline(value) for value in part] if isinstance(part, list) else part

    found: dict[str, Any] = inline(schema)
    return found


async def _on_mull_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, MullError)
    return as_json(body_of(error), status=error.status, headers=headers_of(error))


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the shape that clients of this API can read."""
    assert isinstance(error, HTTPException)
    problem = InvalidRequest(
        f"{request.method} {request.url.path}: {error.detail.lower()}",
        code=error.detail.lower().replace(" ", "_"),
    )
    return as_json(body_of(problem), status=error.status_code, headers=dict(error.headers or {}))
