"""What all routes share: the configuration, and what the server runs on."""

from __future__ import annotations

from functools import partial

from mull.engines.pool import Pool
from mull.server.backend import Backend
from mull.server.choose import Ability, Catalog
from mull.server.live import RunningRequests
from mull.server.metrics import Metrics
from mull.server.queueing.admission import Admission
from mull.server.record import record
from mull.server.service import Served, Service
from mull.server.settings import Settings
from mull.server.traces import TraceStore
from mull.server.tracing import Tracing


class Context:
    """One server, as its routes see it.

    Args:
        settings: The configuration.
        backend: What the server runs on.
        metrics: Where requests are counted.
        store: Where finished requests are kept; None keeps nothing.
        tracing: What makes spans of requests; by default none are made.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        metrics: Metrics,
        store: TraceStore | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.tracing = tracing or Tracing()
        self.settings = settings
        self.backend = backend
        self.metrics = metrics
        self.store = store
        self.live = RunningRequests()
        self.admission = Admission(settings.admission, metrics)

    @property
    def catalog(self) -> Catalog:
        """What there is to choose from now."""
        return Catalog(
            settings=self.settings,
            models={
                name: Ability(
                    continues=generator.continues,
                    ends=bool(generator.ends),
                    apart=isinstance(generator, Pool) and generator.apart,
                )
                for name, generator in self.backend.generators.items()
            },
            verifiers={name: verifier.kind for name, verifier in self.backend.verifiers.items()},
            retrievers=tuple(self.backend.retrievers),
            pressure=self.admission.pressure,
        )

    @property
    def service(self) -> Service:
        """What solves requests."""
        return Service(
            generators=self.backend.generators,
            verifiers=self.backend.verifiers,
            retrievers=self.backend.retrievers,
            answers=self.backend.answers,
            metrics=self.metrics,
            live=self.live,
            admission=self.admission,
            tracing=self.tracing,
            fallback=self.settings.fallback == "majority_vote",
            keep=None if self.store is None else self._keep,
        )

    def _keep(self, served: Served) -> None:
        assert self.store is not None
        self.store.put(served.job.id, partial(record, served, text=self.settings.traces.text))
