"""The HTTP application: routes, and what they share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import ValidationError

import mull
from mull.protocols import Generator, Verifier
from mull.server.admin import Admin
from mull.server.answering import ErrorAnswers
from mull.server.backend import Backend, Load
from mull.server.batches.part import BatchPart, unconfigured
from mull.server.batches.store import BatchStore
from mull.server.body import read
from mull.server.callers import caller_of
from mull.server.chat import ChatFormat
from mull.server.choose import default_needs
from mull.server.completions.routes import Completions
from mull.server.context import Context
from mull.server.draining import Closing, Drain
from mull.server.feedback import Feedback
from mull.server.health import EngineHealth
from mull.server.judging.routes import Judging
from mull.server.keys import Keys
from mull.server.learning import Learning
from mull.server.measured import Measured
from mull.server.messages.routes import Messages
from mull.server.metrics import Metrics
from mull.server.middleware import RequestLog
from mull.server.network import protect
from mull.server.observing import Observing
from mull.server.openapi import takes
from mull.server.page import Page
from mull.server.queueing.errors import ShuttingDown
from mull.server.reload import ReloadRequest, describe
from mull.server.replicas import ReplicaMetrics
from mull.server.reply import Reply, as_json
from mull.server.responses.routes import Responses
from mull.server.schemas import ChatRequest, parse
from mull.server.service import Job
from mull.server.settings import Settings
from mull.server.storage.metrics import StoreMetrics
from mull.server.storage.places import places
from mull.server.tokens import Tokens
from mull.server.traces import TraceStore
from mull.server.tracing import TraceContext, Tracing, exporting
from mull.strategies.base import StrategyModel
from mull.strategies.registry import STRATEGIES

log = logging.getLogger(__name__)


class Api:
    """The routes of one server.

    Args:
        context: What the server runs on.
        batches: Where files and batches are; None where there are none.
    """

    def __init__(self, context: Context, batches: BatchStore | None) -> None:
        settings, live = context.settings, context.live
        self._context = context
        self._settings = settings
        self._backend = context.backend
        self._health = EngineHealth(context.backend, context.metrics)
        context.metrics.join(ReplicaMetrics(context.backend))
        self._learning = Learning(settings, context.backend, context.metrics, context.store)
        self.keys = Keys(settings.api_keys, Admin(settings.admin_key_env), settings.keys_file)
        self._observing = Observing(settings, context.store, live)
        self.batches = (
            None if batches is None else BatchPart(settings, batches, live, context.backend.check_started)
        )
        self.drain = Drain(context.admission, live, self.batches, seconds=settings.drain)

    def routes(self) -> APIRouter:
        """All routes; those under /v1 want a key where keys are configured."""
        v1 = APIRouter(prefix="/v1", dependencies=[Depends(self.keys.user)])
        v1.post("/chat/completions", openapi_extra=takes(ChatRequest))(self.chat_completions)
        v1.include_router(Completions(self._context).routes())
        v1.include_router(Responses(self._context).routes())
        v1.include_router(Messages(self._context).routes())
        v1.include_router(Judging(self._context).routes())
        v1.get("/models")(self.models)
        v1.get("/models/{name:path}")(self.model)
        v1.get("/ttc/strategies")(self.strategies)
        v1.get("/ttc/verifiers")(self.verifiers)
        v1.get("/ttc/bench")(Measured(self._settings.bench_dir).bench)
        # What belongs to one user: administrators may see it too.
        own = APIRouter(prefix="/v1", dependencies=[Depends(self.keys.user_or_admin)])
        own.post("/ttc/feedback", openapi_extra=takes(Feedback))(self._learning.feedback)
        own.get("/ttc/usage")(self.usage)
        own.get("/ttc/running")(self._observing.running)
        own.get("/ttc/traces/{name}")(self._observing.trace)
        own.get("/ttc/traces/{name}/events")(self._observing.events)
        own.include_router(unconfigured() if self.batches is None else self.batches.routes())
        # Administrators show a key of their own, not one of those above.
        admin = APIRouter(prefix="/v1/ttc", dependencies=[Depends(self.keys.admin)])
        admin.get("/traces")(self._observing.traces)
        reloading = takes(ReloadRequest)
        admin.post("/verifiers/{name}/reload", openapi_extra=reloading)(self._learning.reload)
        router = APIRouter()
        router.include_router(v1)
        router.include_router(own)
        router.include_router(admin)
        router.include_router(Tokens(self._context).routes(), dependencies=[Depends(self.keys.user)])
        router.include_router(Page().routes())
        router.get("/health")(self.health)
        router.get("/ready")(self.ready)
        router.get("/metrics")(self.metrics)
        return router

    async def chat_completions(self, request: Request) -> Response:
        """Answer a conversation, as JSON or as server-sent events."""
        body = await read(request, self._settings.limits)
        self._backend.check_started()
        asked = await asyncio.to_thread(parse, body, nesting=self._settings.limits.nesting)
        plan = self._context.catalog.choose(asked)
        job = Job(plan=plan, task=asked.task(plan.style), caller=caller_of(request))
        return Reply(
            self._context.service,
            job,
            ChatFormat(job, asked),
            stream=asked.stream,
            heartbeat=self._settings.heartbeat,
        )

    async def models(self) -> Response:
        """All models, each also with every strategy and preset that works with it."""
        self._backend.check_started()
        catalog = self._context.catalog
        names = [n for m in catalog.models for n in (m, *(f"{m}+{alias}" for alias in catalog.aliases(m)))]
        return as_json({"object": "list", "data": [self._card(name) for name in names]})

    async def model(self, name: str) -> Response:
        """One model."""
        self._backend.check_started()
        self._context.catalog.served(name)
        return as_json(self._card(name))

    async def strategies(self) -> Response:
        """The strategies: what they do, their parameters as JSON Schema, what they need, where they work."""
        self._backend.check_started()
        catalog, data = self._context.catalog, []
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

    async def usage(self, request: Request) -> Response:
        """What keys have used since the server started: all for administrators, his own for a user."""
        return as_json({"object": "list", "data": self._context.admission.usage(caller_of(request))})

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
        if self.drain.begun:
            raise ShuttingDown()
        await self._backend.check()
        return as_json({"status": "ready"})

    async def metrics(self) -> Response:
        """Prometheus metrics of the server and of the engines in this process."""
        await self._health.refresh()
        return Response(self._context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

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
    tracing: Tracing | None = None,
) -> FastAPI:
    """The application.

    Args:
        settings: The configuration.
        generators: Models that run already, instead of starting the configured ones.
        verifiers: Verifiers that run already, instead of starting the configured ones.
        load: Loads another version of a verifier, instead of what the configuration says.
        on_failure: Called when an engine or verifier cannot be started.
        tracing: What makes spans, instead of what the configuration says.
    """
    backend = Backend(settings, generators=generators, verifiers=verifiers, load=load, on_failure=on_failure)
    metrics = Metrics()
    kept = places(settings)
    metrics.join(StoreMetrics(kept.answers))
    store = None if kept.traces is None else TraceStore(kept.traces, on_drop=metrics.traces_lost.inc)
    tracing = tracing or exporting(settings.telemetry.otlp_endpoint)
    api = Api(Context(settings, backend, metrics, store, tracing), kept.batches)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if store is not None:
            await _open("traces", asyncio.to_thread(store.open), on_failure)
        if api.batches is not None:
            await _open("batches", api.batches.open(app), on_failure)
        await api.keys.open()
        await backend.open()
        try:
            yield
        finally:
            if api.batches is not None:
                await api.batches.close()
            await backend.close()
            await api.keys.close()
            if store is not None:
                await asyncio.to_thread(store.close)
            await asyncio.to_thread(kept.close)
            await asyncio.to_thread(tracing.close)

    # Without FastAPI's own pages: they would run scripts from elsewhere beside a page that knows keys.
    app = FastAPI(
        title="mull",
        version=mull.__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(api.routes())
    app.state.drain = api.drain
    app.add_middleware(Closing, drain=api.drain)
    protect(app, settings)
    if tracing.on:
        app.add_middleware(TraceContext)
    app.add_middleware(RequestLog, metrics=metrics)
    ErrorAnswers(metrics).install(app)
    return app


async def _open(section: str, opening: Awaitable[None], on_failure: Callable[[], None] | None) -> None:
    try:
        await opening
    except OSError as error:
        log.error("cannot start: %s.dir: %s", section, error)
        if on_failure is not None:
            on_failure()
        raise
